"""A contact sheet: the hits as a grid of small pictures with rank, score and name, in one PNG."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from indexd.errors import IndexdError
from indexd.images.sheets import save_page, small_picture
from indexd_schemas.output import Hit

CELL_PX = 256
CAPTION_PX = 40
GAP_PX = 8
MOST_COLUMNS = 6
# A sheet of more would be a picture that viewers refuse; 600 cells are 1600 x 31 000 pixels.
MOST_CELLS = 600
BACKGROUND, FRAME, INK, FAINT = "#16181d", "#23262e", "#e8eaf0", "#9aa1b2"


def write_sheet(hits: Sequence[Hit], target: Path, thumbnail_of: Callable[[str], Path]) -> int:
    """Write the sheet and say how many pictures are on it.

    `thumbnail_of` maps a content hash (hex) to its thumbnail, which is used where it exists, else the picture itself.
    A picture that cannot be opened keeps its cell, empty. The file is replaced atomically; raises IndexdError when it
    cannot be written or there is nothing to show.
    """
    shown = list(hits[:MOST_CELLS])
    if not shown:
        raise IndexdError("there is nothing to put on a sheet")
    columns = min(MOST_COLUMNS, max(1, round(len(shown) ** 0.5 + 0.49)))
    rows = -(-len(shown) // columns)
    step_x, step_y = CELL_PX + GAP_PX, CELL_PX + CAPTION_PX + GAP_PX
    sheet = Image.new("RGB", (GAP_PX + columns * step_x, GAP_PX + rows * step_y), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for place, hit in enumerate(shown):
        x, y = GAP_PX + place % columns * step_x, GAP_PX + place // columns * step_y
        draw.rectangle((x, y, x + CELL_PX - 1, y + CELL_PX - 1), fill=FRAME)
        small = small_picture(thumbnail_of(hit.image.hash), hit.image.path, CELL_PX)
        if small is not None:
            sheet.paste(small, (x + (CELL_PX - small.width) // 2, y + (CELL_PX - small.height) // 2))
        head, name = caption(hit)
        draw.text((x, y + CELL_PX + 3), head, INK, font)
        draw.text((x, y + CELL_PX + 20), _shortened(name, draw, font), FAINT, font)
    save_page(sheet, target, "sheet")
    return len(shown)


def caption(hit: Hit) -> tuple[str, str]:
    """Two lines under a picture: rank with score and rating, and the file name."""
    score = f"  {hit.score:+.2f}" if hit.score is not None else ""
    rating = f"  {hit.image.rating}/5" if hit.image.rating else ""
    return f"{hit.rank}.{score}{rating}", os.path.basename(hit.image.path or hit.image.hash[:12])


def _shortened(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if draw.textlength(text, font) <= CELL_PX:
        return text
    keep = len(text)
    while keep > 8 and draw.textlength(_middle_cut(text, keep), font) > CELL_PX:
        keep -= 1
    return _middle_cut(text, keep)


def _middle_cut(text: str, keep: int) -> str:
    return f"{text[: keep // 2]}…{text[-(keep - keep // 2) :]}"
