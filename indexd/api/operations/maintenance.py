"""Reading stored metadata again with the readers of this program: the files are not touched, a slice at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable

from indexd.images.image_reader import PARSER_VERSION, parse_metadata
from indexd.indexing.stages import text_layers_by_input
from indexd.store.sqlite.store import Store
from indexd_schemas.api.responses import ReparseReport

# What a reader of metadata adds to the problems of a picture; the others come from the file itself and stay.
_READER_PROBLEM_PREFIX = "the reader of "


def reparse(
    store: Store, after: int, limit: int, everything: bool, signal_new_work: Callable[[], None] | None = None
) -> ReparseReport:
    """Read the next `limit` images above the id `after` again: all, or those that an older reader read.

    `announce` is called when that changed something: models may have work again.
    """
    ids, left = store.images.find_outdated(sys.maxsize if everything else PARSER_VERSION, after, limit)
    if not ids:
        return ReparseReport(read=0, changed=0, last_id=None, left=0)
    raws, problems = store.images.raw_chunks_by_image(ids), store.images.parse_problems(ids)
    stated = {
        image_id: parse_metadata(raws.get(image_id, ()), _file_problems(problems.get(image_id))) for image_id in ids
    }
    changed = store.images.update_metadata(stated, text_layers_by_input())
    if changed and signal_new_work is not None:
        signal_new_work()
    return ReparseReport(read=len(ids), changed=changed, last_id=ids[-1], left=left - len(ids))


def _file_problems(problem: str | None) -> list[str]:
    return [part for part in (problem or "").split("; ") if part and not part.startswith(_READER_PROBLEM_PREFIX)]
