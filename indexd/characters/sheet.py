"""A contact sheet of faces: each cut out of its picture, with its number, likeness and how it came there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from indexd.errors import IndexdError
from indexd.images.containers.kinds import FORMATS
from indexd.images.sheets import save_page
from indexd_schemas.characters import CharacterFace

CELL_PX = 160
CAPTION_PX = 38
GAP_PX = 8
MOST_COLUMNS = 8
MOST_CELLS = 600
# Room around the face, as a share of its longer side.
PADDING = 0.25
BACKGROUND, FRAME, INK, FAINT = "#16181d", "#23262e", "#e8eaf0", "#9aa1b2"


def write_face_sheet(faces: Sequence[CharacterFace], target: Path, thumbnail_of: Callable[[str], Path]) -> int:
    """Write the sheet and say how many faces are on it.

    Faces are cut from the picture itself, or where that lies nowhere from its thumbnail (`thumbnail_of` maps a content
    hash to it). One that cannot be opened keeps its cell, empty. Raises IndexdError when there is nothing to show.
    """
    shown = list(faces[:MOST_CELLS])
    if not shown:
        raise IndexdError("there is nothing to put on a sheet")
    columns = min(MOST_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    step_x, step_y = CELL_PX + GAP_PX, CELL_PX + CAPTION_PX + GAP_PX
    sheet = Image.new("RGB", (GAP_PX + columns * step_x, GAP_PX + rows * step_y), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for place, face in enumerate(shown):
        x, y = GAP_PX + place % columns * step_x, GAP_PX + place // columns * step_y
        draw.rectangle((x, y, x + CELL_PX - 1, y + CELL_PX - 1), fill=FRAME)
        small = face_picture(face, thumbnail_of(face.hash))
        if small is not None:
            sheet.paste(small, (x + (CELL_PX - small.width) // 2, y + (CELL_PX - small.height) // 2))
        likeness = f"  {face.likeness:.2f}" if face.likeness is not None else ""
        draw.text((x, y + CELL_PX + 3), f"{face.region}{likeness}  {face.source}", INK, font)
        name = os.path.basename(face.path or face.hash[:12])
        draw.text((x, y + CELL_PX + 19), name[:24], FAINT, font)
    save_page(sheet, target, "sheet")
    return len(shown)


def face_picture(face: CharacterFace, thumbnail: Path) -> Image.Image | None:
    """The face with some room around it, within CELL_PX square; None when its picture cannot be opened."""
    for source in (Path(face.path) if face.path else None, thumbnail):
        if source is None or not source.is_file():
            continue
        try:
            with Image.open(source, formats=FORMATS) as opened:
                upright = ImageOps.exif_transpose(opened).convert("RGB")
        except Exception:
            # Pillow raises eight classes over broken files; the next source, or an empty cell.
            continue
        left, top, width, height = face.box
        room = PADDING * max(width * upright.width, height * upright.height)
        small = upright.crop(
            (
                int(max(left * upright.width - room, 0)),
                int(max(top * upright.height - room, 0)),
                int(min((left + width) * upright.width + room, upright.width)) + 1,
                int(min((top + height) * upright.height + room, upright.height)) + 1,
            )
        )
        # A face in a thumbnail may be smaller than its cell.
        return ImageOps.contain(small, (CELL_PX, CELL_PX))
    return None
