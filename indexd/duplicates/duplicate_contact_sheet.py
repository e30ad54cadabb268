"""Groups of duplicates as a picture: a row a group, the one to keep first and framed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from indexd.errors import IndexdError
from indexd.images.image_grid import ImageGrid, load_small_image
from indexd_schemas.api.library_reports import DuplicateGroup

CELL_PX = 200
CAPTION_PX = 34
TITLE_PX = 24
FONT_PX = 12
COLUMNS = 6
# 120 rows are 32 000 pixels; viewers refuse larger ones.
MAX_GROUPS = 120
KEEP_COLOUR = "#4fbf7f"


def write_duplicate_contact_sheet(
    groups: Sequence[DuplicateGroup], target: Path, thumbnail_of: Callable[[str], Path]
) -> int:
    """Write the sheet and say how many groups are on it; of a large group the first six are shown.

    `thumbnail_of` maps a content hash (hex) to its thumbnail, which is used where it exists, else the picture itself. The
    file is replaced atomically. Raises IndexdError when it cannot be written or there is nothing to show.
    """
    shown = groups[:MAX_GROUPS]
    if not shown:
        raise IndexdError("there is nothing to put on a sheet")
    page = ImageGrid(COLUMNS, len(shown), CELL_PX, CAPTION_PX, FONT_PX, TITLE_PX)
    for row, group in enumerate(shown):
        more = f", {len(group.members) - COLUMNS} more" if len(group.members) > COLUMNS else ""
        page.draw_title(row, f"{row + 1}. {group.kind}: keep the first, {group.reason}{more}")
        for place, member in enumerate(group.members[:COLUMNS], row * COLUMNS):
            likeness = "keep" if member.keep else f"{member.similarity:.2f}"
            page.draw_cell(
                place,
                load_small_image(thumbnail_of(member.hash), member.path, CELL_PX),
                os.path.basename(member.path or member.hash[:12]),
                f"{likeness}  {member.width}x{member.height} {member.format}",
                KEEP_COLOUR if member.keep else None,
            )
    page.save(target)
    return len(shown)
