"""Contact sheet of duplicates: one row for each group; the image to keep is first and has a frame."""

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
# Many viewers refuse larger images: 120 rows are 32 000 pixels high.
MAX_GROUPS = 120
KEEP_COLOUR = "#4fbf7f"


def write_duplicate_contact_sheet(
    groups: Sequence[DuplicateGroup], target: Path, thumbnail_of: Callable[[str], Path]
) -> int:
    """Write the contact sheet atomically and return the number of groups on it. A row shows at most COLUMNS images.

    `thumbnail_of` maps a content hash (hex) to the path of its thumbnail; without that file the image itself is read.
    Raises IndexdError without groups, or when the file cannot be written.
    """
    shown = groups[:MAX_GROUPS]
    if not shown:
        raise IndexdError("there are no duplicates for a contact sheet")
    grid = ImageGrid(COLUMNS, len(shown), CELL_PX, CAPTION_PX, FONT_PX, TITLE_PX)
    for row, group in enumerate(shown):
        more = f", {len(group.members) - COLUMNS} more" if len(group.members) > COLUMNS else ""
        advice = "keep all" if group.kind == "variations" else "keep the first"
        grid.draw_title(row, f"{row + 1}. {group.kind}: {advice}, {group.reason}{more}")
        for position, member in enumerate(group.members[:COLUMNS], row * COLUMNS):
            similarity = "keep" if position == row * COLUMNS else f"{member.similarity:.2f}"
            grid.draw_cell(
                position,
                load_small_image(thumbnail_of(member.hash), member.path, CELL_PX),
                os.path.basename(member.path or member.hash[:12]),
                f"{similarity}  {member.width}x{member.height} {member.format}",
                KEEP_COLOUR if similarity == "keep" else None,
            )
    grid.save(target)
    return len(shown)
