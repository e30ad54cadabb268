"""Reading stored metadata again with the readers of this program: the files are not touched, a slice at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable

from indexd.images.metadata import PARSER_VERSION, parse
from indexd.layers.description import layers_of_texts
from indexd.store.index import Store
from indexd_schemas.replies import Reparsed

# What a reader of metadata adds to the problems of a picture; the others come from the file itself and stay.
_READERS_PROBLEM = "the reader of "


def reparse(
    store: Store, after: int, limit: int, everything: bool, announce: Callable[[], None] | None = None
) -> Reparsed:
    """Read the next `limit` images above the id `after` again: all, or those that an older reader read.

    `announce` is called when that changed something: models may have work again.
    """
    ids, left = store.images.read_before(sys.maxsize if everything else PARSER_VERSION, after, limit)
    if not ids:
        return Reparsed(read=0, changed=0, last_id=None, left=0)
    raws, problems = store.images.raws(ids), store.images.problems(ids)
    stated = {image_id: parse(raws.get(image_id, ()), _of_the_file(problems.get(image_id))) for image_id in ids}
    changed = store.images.restate(stated, layers_of_texts())
    if changed and announce is not None:
        announce()
    return Reparsed(read=len(ids), changed=changed, last_id=ids[-1], left=left - len(ids))


def _of_the_file(problem: str | None) -> list[str]:
    return [part for part in (problem or "").split("; ") if part and not part.startswith(_READERS_PROBLEM)]
