"""A contact sheet: the hits as a grid of small pictures with rank, score and name, in one PNG."""

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
# A sheet of more would be a picture that viewers refuse; 600 cells are 1600 x 31 000 pixels.
MAX_CELLS = 600


def write_hit_contact_sheet(hits: Sequence[SearchHit], target: Path, thumbnail_of: Callable[[str], Path]) -> int:
    """Write the sheet and say how many pictures are on it.

    `thumbnail_of` maps a content hash (hex) to its thumbnail, which is used where it exists, else the picture itself.
    A picture that cannot be opened keeps its cell, empty. The file is replaced atomically; raises IndexdError when it
    cannot be written or there is nothing to show.
    """
    shown = list(hits[:MAX_CELLS])
    if not shown:
        raise IndexdError("there is nothing to put on a sheet")
    columns = min(MAX_COLUMNS, max(1, round(len(shown) ** 0.5 + 0.49)))
    page = ImageGrid(columns, -(-len(shown) // columns), CELL_PX, CAPTION_PX, FONT_PX)
    for place, hit in enumerate(shown):
        page.draw_cell(
            place, load_small_image(thumbnail_of(hit.image.hash), hit.image.path, CELL_PX), *hit_caption(hit)
        )
    page.save(target)
    return len(shown)


def hit_caption(hit: SearchHit) -> tuple[str, str]:
    """Two lines under a picture: rank with score and rating, and the file name."""
    score = f"  {hit.score:+.2f}" if hit.score is not None else ""
    rating = f"  {hit.image.rating}/5" if hit.image.rating else ""
    return f"{hit.rank}.{score}{rating}", os.path.basename(hit.image.path or hit.image.hash[:12])
