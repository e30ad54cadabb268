"""A contact sheet of face crops, with the number, similarity and membership source of each face."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageOps

from indexd.errors import IndexdError, NotAnImage, NotRegularFile
from indexd.images.decode import open_image
from indexd.images.image_grid import ImageGrid
from indexd_schemas.api.characters import CharacterFace

CELL_PX = 160
CAPTION_PX = 38
FONT_PX = 12
MAX_COLUMNS = 8
MAX_CELLS = 600
# Padding around the face as a share of its longer side.
PADDING_SHARE = 0.25


def write_face_contact_sheet(faces: Sequence[CharacterFace], target: Path, thumbnail_of: Callable[[str], Path]) -> int:
    """Write the contact sheet to `target` and return the number of its faces.

    Crops come from the image file, or from the thumbnail when no file is present (`thumbnail_of` maps a content hash
    to its path). A face whose image cannot be opened gets an empty cell. Raises IndexdError without faces.
    """
    shown = list(faces[:MAX_CELLS])
    if not shown:
        raise IndexdError("there are no faces for a contact sheet")
    columns = min(MAX_COLUMNS, len(shown))
    page = ImageGrid(columns, -(-len(shown) // columns), CELL_PX, CAPTION_PX, FONT_PX)
    for position, face in enumerate(shown):
        similarity = f"  {face.similarity:.2f}" if face.similarity is not None else ""
        page.draw_cell(
            position,
            load_face_crop(face, thumbnail_of(face.hash)),
            f"{face.region}{similarity}  {face.source}",
            os.path.basename(face.path or face.hash[:12]),
        )
    page.save(target)
    return len(shown)


def load_face_crop(face: CharacterFace, thumbnail: Path) -> Image.Image | None:
    """The face with padding, at most CELL_PX wide and high; None when its image cannot be opened."""
    for source in (Path(face.path) if face.path else None, thumbnail):
        if source is None or not source.is_file():
            continue
        try:
            upright = open_image(source)
        except (NotAnImage, NotRegularFile, OSError):
            continue
        left, top, width, height = face.box
        padding = PADDING_SHARE * max(width * upright.width, height * upright.height)
        crop = upright.crop(
            (
                int(max(left * upright.width - padding, 0)),
                int(max(top * upright.height - padding, 0)),
                int(min((left + width) * upright.width + padding, upright.width)) + 1,
                int(min((top + height) * upright.height + padding, upright.height)) + 1,
            )
        )
        # A face in a thumbnail may be smaller than its cell.
        return ImageOps.contain(crop, (CELL_PX, CELL_PX))
    return None
