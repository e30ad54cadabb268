"""Labels: every sign is drawn in a font that has it, or stands as its code point."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from indexd.images import label_font
from indexd.images.label_font import SHIPPED_FONT, LabelFont, find_font_files, has_glyph


@pytest.fixture
def font(tmp_path: Path) -> LabelFont:
    """Without fonts of the system."""
    return LabelFont(16, [tmp_path])


def _drawn(font: LabelFont, text: str) -> bytes:
    image = Image.new("L", (600, 40))
    font.draw(ImageDraw.Draw(image), (4, 4), text, "white")
    return image.tobytes()


def test_the_shipped_font_has_latin_greek_and_cyrillic() -> None:
    shipped = ImageFont.truetype(SHIPPED_FONT, 16)
    assert [sign for sign in "abzéßøłđžőαωЖя€…→×·–“”≤" if not has_glyph(shipped, sign)] == []
    assert not has_glyph(shipped, "日")
    assert SHIPPED_FONT.stat().st_size < 100_000
    assert (SHIPPED_FONT.parent / "LICENSE.txt").is_file()


def test_a_sign_without_a_font_stands_as_its_code_point(font: LabelFont) -> None:
    assert _drawn(font, "日本 é") == _drawn(font, "[U+65E5][U+672C] é")
    assert font.length("日") == font.length("[U+65E5]")


def test_signs_without_a_shape_disappear(font: LabelFont) -> None:
    assert _drawn(font, "a\ufe0fb\u200dc") == _drawn(font, "abc")


def test_a_font_of_the_system_is_used_for_what_the_shipped_one_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "NotoSansCJK.ttf").write_bytes(b"damaged")
    shutil.copy(SHIPPED_FONT, tmp_path / "Zeta.ttf")
    glyphs = {"Zeta.ttf": {"日"}}

    def pretend(font: ImageFont.FreeTypeFont, sign: str) -> bool:
        return sign in glyphs.get(Path(str(font.path)).name, set("ab "))

    monkeypatch.setattr(label_font, "has_glyph", pretend)
    font = LabelFont(16, [tmp_path])
    assert [(run, Path(str(used.path)).name) for run, used in font._runs("ab 日日 a本")] == [
        ("ab ", SHIPPED_FONT.name),
        ("日日", "Zeta.ttf"),
        (" a[U+672C]", SHIPPED_FONT.name),
    ]


def test_fonts_with_many_scripts_and_regular_styles_are_tried_first(tmp_path: Path) -> None:
    for name in (
        "a.ttf",
        "NotoSansCJK-Bold.ttc",
        "NotoSansCJK-Regular.ttc",
        "wqy-zenhei.ttc",
        "readme.txt",
        "sub/msyh.ttc",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    names = [path.name for path in find_font_files([tmp_path, tmp_path / "missing"])]
    assert names == ["NotoSansCJK-Regular.ttc", "NotoSansCJK-Bold.ttc", "msyh.ttc", "wqy-zenhei.ttc", "a.ttf"]


def test_a_line_that_is_too_long_loses_its_middle(font: LabelFont) -> None:
    text = "a photograph of\na red fox in the snow"
    short = font.ellipsize(text, 120)
    assert font.length(short) <= 120
    assert short.startswith("a phot") and short.endswith("snow") and "…" in short
    assert font.ellipsize("a\nb", 120) == "a b"
    for width in range(20, 300, 20):
        assert font.length(font.ellipsize("日本の猫", width)) <= width


def test_lines_break_at_spaces(font: LabelFont) -> None:
    assert font.wrap("", 100, 3) == [""]
    lines = font.wrap("one two three four five six seven eight nine ten", 90, 3)
    assert len(lines) == 3
    assert all(font.length(line) <= 90 for line in lines)
    assert lines[0] == "one two" and "…" in lines[-1]
    assert font.wrap("Donaudampfschifffahrtsgesellschaft", 90, 2)[0].count("…") == 1
