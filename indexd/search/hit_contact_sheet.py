"""Contact sheet of search hits: one PNG with thumbnails, ranks, scores and file names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from indexd.errors import IndexdError
from indexd.images.image_grid import ImageGrid, load_small_image
from indexd_schemas.api.output import SearchHit

CELL_PX = 256
CAPTION_PX = 40
FONT_PX = 13
MAX_COLUMNS = 6
# Many viewers refuse larger images: 600 cells are 1600 x 31 000 pixels.
MAX_CELLS = 600


def write_hit_contact_sheet(hits: Sequence[SearchHit], target: Path, thumbnail_of: Callable[[str], Path]) -> int:
    """Write the contact sheet atomically and return the number of images on it.

    `thumbnail_of` maps a content hash (hex) to the path of its thumbnail; without that file the image itself is read.
    The cell of an unreadable image stays empty. Raises IndexdError without hits, or when the file cannot be written.
    """
    shown = list(hits[:MAX_CELLS])
    if not shown:
        raise IndexdError("there are no images for a contact sheet")
    columns = min(MAX_COLUMNS, max(1, round(len(shown) ** 0.5 + 0.49)))
    grid = ImageGrid(columns, -(-len(shown) // columns), CELL_PX, CAPTION_PX, FONT_PX)
    for position, hit in enumerate(shown):
        grid.draw_cell(
            position, load_small_image(thumbnail_of(hit.image.hash), hit.image.path, CELL_PX), *hit_caption(hit)
        )
    grid.save(target)
    return len(shown)


def hit_caption(hit: SearchHit) -> tuple[str, str]:
    """The two caption lines: rank, score and rating; the file name."""
    score = f"  {hit.score:+.2f}" if hit.score is not None else ""
    rating = f"  {hit.image.rating}/5" if hit.image.rating else ""
    return f"{hit.rank}.{score}{rating}", os.path.basename(hit.image.path or hit.image.hash[:12])
