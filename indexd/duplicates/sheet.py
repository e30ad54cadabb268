"""Groups of duplicates as a picture: a row a group, the one to keep first and framed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from indexd.errors import IndexdError
from indexd.images.sheets import save_page, small_picture
from indexd_schemas.library import DuplicateGroup, DuplicateMember

CELL_PX = 200
CAPTION_PX = 34
TITLE_PX = 24
GAP_PX = 8
COLUMNS = 6
# 120 rows are 32 000 pixels; viewers refuse larger ones.
MOST_GROUPS = 120
BACKGROUND, FRAME, KEEP, INK, FAINT = "#16181d", "#23262e", "#4fbf7f", "#e8eaf0", "#9aa1b2"


def write_sheet(groups: Sequence[DuplicateGroup], target: Path, thumbnail_of: Callable[[str], Path]) -> int:
    """Write the sheet and say how many groups are on it; of a large group the first six are shown.

    `thumbnail_of` maps a content hash (hex) to its thumbnail, which is used where it exists, else the picture itself. The
    file is replaced atomically. Raises IndexdError when it cannot be written or there is nothing to show.
    """
    shown = groups[:MOST_GROUPS]
    if not shown:
        raise IndexdError("there is nothing to put on a sheet")
    step = TITLE_PX + CELL_PX + CAPTION_PX + GAP_PX
    sheet = Image.new("RGB", (GAP_PX + COLUMNS * (CELL_PX + GAP_PX), GAP_PX + len(shown) * step), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, group in enumerate(shown, 1):
        y = GAP_PX + (number - 1) * step
        more = f", {len(group.members) - COLUMNS} more" if len(group.members) > COLUMNS else ""
        draw.text((GAP_PX, y + 4), f"{number}. {group.kind}: keep the first, {group.reason}{more}", INK, font)
        for place, member in enumerate(group.members[:COLUMNS]):
            _cell(sheet, draw, font, (GAP_PX + place * (CELL_PX + GAP_PX), y + TITLE_PX), member, thumbnail_of)
    save_page(sheet, target, "sheet")
    return len(shown)


def _cell(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    corner: tuple[int, int],
    member: DuplicateMember,
    thumbnail_of: Callable[[str], Path],
) -> None:
    x, y = corner
    draw.rectangle((x, y, x + CELL_PX - 1, y + CELL_PX - 1), fill=FRAME)
    small = small_picture(thumbnail_of(member.hash), member.path, CELL_PX)
    if small is not None:
        sheet.paste(small, (x + (CELL_PX - small.width) // 2, y + (CELL_PX - small.height) // 2))
    if member.keep:
        draw.rectangle((x, y, x + CELL_PX - 1, y + CELL_PX - 1), outline=KEEP, width=3)
    name = os.path.basename(member.path or member.hash[:12])
    while len(name) > 8 and draw.textlength(name, font) > CELL_PX:
        name = f"{name[: len(name) // 2 - 1]}…{name[len(name) // 2 + 1 :]}"
    draw.text((x, y + CELL_PX + 2), name, INK, font)
    likeness = "keep" if member.keep else f"{member.likeness:.2f}"
    draw.text((x, y + CELL_PX + 17), f"{likeness}  {member.width}x{member.height} {member.format}", FAINT, font)
