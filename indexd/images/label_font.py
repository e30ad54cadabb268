"""Labels on sheets and plots, in any script for which a font is at hand.

The shipped font has Latin, Greek and Cyrillic. For other signs the font folders of the system are searched, and a sign that
no font has is written as its code point. Text is drawn from left to right, sign by sign.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

SHIPPED_FONT = Path(__file__).parent / "fonts" / "DejaVuSans-labels.ttf"
FONT_SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
PREFERRED_FONTS = (
    "notosanscjk",
    "sourcehansans",
    "hiragino",
    "pingfang",
    "yugoth",
    "meiryo",
    "msyh",
    "malgun",
    "msgothic",
    "wqy",
    "ipa",
    "takao",
    "droidsansfallback",
    "arialuni",
    "notosans",
    "dejavusans",
    "unifont",
)
"""Beginnings of file names, without `-`, `_` and spaces, in lower case: those with the widest range of scripts come first."""
FONTS_TRIED_MAX = 200
# No Unicode version will ever assign it, so that every font shows its sign for "missing" there.
_NONCHARACTER = "\U0010ffff"

Position = tuple[float, float]


def system_font_folders() -> list[Path]:
    """The folders in which this system keeps fonts."""
    home = Path.home()
    if sys.platform == "win32":
        folders = [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
        if local := os.environ.get("LOCALAPPDATA"):
            folders.append(Path(local) / "Microsoft" / "Windows" / "Fonts")
        return folders
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts"]
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), data / "fonts", home / ".fonts"]


def find_font_files(folders: Sequence[Path]) -> list[Path]:
    """The font files below the folders, those of PREFERRED_FONTS first, regular before bold; at most FONTS_TRIED_MAX."""
    files = [
        Path(parent) / name
        for folder in folders
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(FONT_SUFFIXES)
    ]
    return sorted(files, key=_font_rank)[:FONTS_TRIED_MAX]


def _font_rank(path: Path) -> tuple[int, int, str]:
    name = path.stem.lower().replace("-", "").replace("_", "").replace(" ", "")
    place = next((place for place, start in enumerate(PREFERRED_FONTS) if name.startswith(start)), len(PREFERRED_FONTS))
    styled = any(style in name for style in ("bold", "italic", "oblique", "light", "thin", "black", "mono", "serif"))
    return place, int(styled), str(path)


class LabelFont:
    """Draws and measures text of `size_px`, each sign in the first font that has it."""

    def __init__(self, size_px: int, folders: Sequence[Path] | None = None) -> None:
        """`folders` are searched for fonts; None = those of the system."""
        self.size_px = size_px
        self._fonts = [ImageFont.truetype(SHIPPED_FONT, size_px)]
        self._untried: Iterator[Path] = iter(())
        self._folders = folders
        self._is_searched = False
        self._font_of_sign: dict[str, ImageFont.FreeTypeFont | None] = {}

    def draw(self, draw: ImageDraw.ImageDraw, position: Position, text: str, color: str) -> None:
        """Draw one line; `position` is the left end of its baseline box's top."""
        x, y = position
        for run, font in self._runs(text):
            # All fonts stand on one baseline.
            draw.text((x, y + self._ascent), run, color, font, anchor="ls")
            x += font.getlength(run)

    def length(self, text: str) -> float:
        """The width of a line in pixels."""
        return sum(font.getlength(run) for run, font in self._runs(text))

    def ellipsize(self, text: str, width_px: float) -> str:
        """The text as one line within `width_px`; what is too long loses its middle."""
        text = " ".join(text.split())
        keep, shown = len(text), text
        while keep and self.length(shown) > width_px:
            keep -= 1
            shown = f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"
        return shown

    def wrap(self, text: str, width_px: float, max_lines: int) -> list[str]:
        """The text in lines within `width_px`, broken at spaces; the last line is ellipsized where lines are left over."""
        words, lines = text.split(), [""]
        while words:
            longer = f"{lines[-1]} {words[0]}".strip()
            if lines[-1] and self.length(longer) > width_px:
                if len(lines) == max_lines:
                    lines[-1] = " ".join((lines[-1], *words))
                    break
                lines.append("")
                continue
            lines[-1] = longer
            words.pop(0)
        return [self.ellipsize(line, width_px) for line in lines]

    @property
    def _ascent(self) -> int:
        return self._fonts[0].getmetrics()[0]

    def _runs(self, text: str) -> Iterator[tuple[str, ImageFont.FreeTypeFont]]:
        run, of_run = "", self._fonts[0]
        for sign in text:
            font = self._font_for(sign)
            piece = sign if font is not None else _code_point(sign)
            font = font or self._fonts[0]
            if font is not of_run and run:
                yield run, of_run
                run = ""
            run, of_run = run + piece, font
        if run:
            yield run, of_run

    def _font_for(self, sign: str) -> ImageFont.FreeTypeFont | None:
        if sign not in self._font_of_sign:
            found = next((font for font in self._fonts if has_glyph(font, sign)), None)
            self._font_of_sign[sign] = found or self._search_system(sign)
        return self._font_of_sign[sign]

    def _search_system(self, sign: str) -> ImageFont.FreeTypeFont | None:
        if not self._is_searched:
            self._is_searched = True
            self._untried = iter(find_font_files(system_font_folders() if self._folders is None else self._folders))
        for path in self._untried:
            try:
                font = ImageFont.truetype(path, self.size_px)
            except (OSError, ValueError):
                continue  # a damaged file, or one with bitmaps of other sizes only
            self._fonts.append(font)
            if has_glyph(font, sign):
                return font
        return None


@lru_cache(maxsize=8)
def label_font(size_px: int) -> LabelFont:
    """The font for labels of `size_px`; one a size, because searching the system's fonts takes a moment."""
    return LabelFont(size_px)


def has_glyph(font: ImageFont.FreeTypeFont, sign: str) -> bool:
    """Whether the font draws the sign otherwise than what it draws for a sign that it does not have."""
    if sign.isspace():
        return True
    try:
        drawn, missing = font.getmask(sign), font.getmask(_NONCHARACTER)
    except (OSError, ValueError):
        return False
    return drawn.size != missing.size or bytes(drawn) != bytes(missing)


def _code_point(sign: str) -> str:
    """A sign without a glyph, readable; signs without a shape of their own disappear."""
    return "" if unicodedata.category(sign) in ("Cc", "Cf", "Mn") else f"[U+{ord(sign):04X}]"
