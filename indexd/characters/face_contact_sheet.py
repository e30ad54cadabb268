"""A contact sheet of faces: each cut out of its picture, with its number, likeness and how it came there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageOps

from indexd.errors import IndexdError
from indexd.image_metadata.containers.container_reader import SUPPORTED_FORMATS
from indexd.images.image_grid import ImageGrid
from indexd_schemas.api.characters import CharacterFace

CELL_PX = 160
CAPTION_PX = 38
FONT_PX = 12
MAX_COLUMNS = 8
MAX_CELLS = 600
# Room around the face, as a share of its longer side.
PADDING_SHARE = 0.25


def write_face_contact_sheet(faces: Sequence[CharacterFace], target: Path, thumbnail_of: Callable[[str], Path]) -> int:
    """Write the sheet and say how many faces are on it.

    Faces are cut from the picture itself, or where that lies nowhere from its thumbnail (`thumbnail_of` maps a content
    hash to it). One that cannot be opened keeps its cell, empty. Raises IndexdError when there is nothing to show.
    """
    shown = list(faces[:MAX_CELLS])
    if not shown:
        raise IndexdError("there is nothing to put on a sheet")
    columns = min(MAX_COLUMNS, len(shown))
    page = ImageGrid(columns, -(-len(shown) // columns), CELL_PX, CAPTION_PX, FONT_PX)
    for place, face in enumerate(shown):
        likeness = f"  {face.similarity:.2f}" if face.similarity is not None else ""
        page.draw_cell(
            place,
            load_face_crop(face, thumbnail_of(face.hash)),
            f"{face.region}{likeness}  {face.source}",
            os.path.basename(face.path or face.hash[:12]),
        )
    page.save(target)
    return len(shown)


def load_face_crop(face: CharacterFace, thumbnail: Path) -> Image.Image | None:
    """The face with some room around it, within CELL_PX square; None when its picture cannot be opened."""
    for source in (Path(face.path) if face.path else None, thumbnail):
        if source is None or not source.is_file():
            continue
        try:
            with Image.open(source, formats=SUPPORTED_FORMATS) as opened:
                upright = ImageOps.exif_transpose(opened).convert("RGB")
        except Exception:
            # Pillow raises eight classes over broken files; the next source, or an empty cell.
            continue
        left, top, width, height = face.box
        room = PADDING_SHARE * max(width * upright.width, height * upright.height)
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
