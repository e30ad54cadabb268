"""What an earlier process left begun: adopted where the picture is there, queued again where it is not."""

from __future__ import annotations

import json
import logging

from indexd.jobs.publish import Publisher
from indexd.jobs.result import recipe_of
from indexd.jobs.setbacks import MAX_INTERRUPTIONS
from indexd.store.index import Store
from indexd.store.records import ItemRow, JobRow
from indexd.watch.paths import display

log = logging.getLogger(__name__)

COUNTS = "jobs.interruptions"


def take_up(store: Store, publisher: Publisher) -> None:
    """Settle every item that was in hand when the last process ended.

    The process may have been ended by anybody, so that attempt is not counted against the item; but how often an item was
    in hand when it happened is kept, and one that was so too often is given up: it may be what takes the machine down.
    """
    known: dict[str, int] = json.loads(store.meta.get(COUNTS) or "{}")
    counts: dict[str, int] = {}
    for job in store.jobs.unfinished():
        if not job.item_counts.get("running") and not known:
            continue
        for item in store.jobs.items(job.id):
            count = known.get(str(item.id), 0) + (item.state == "running")
            waits = item.state == "queued"
            if item.state == "running":
                waits = not _adopted(store, publisher, job, item, count)
            if waits and count:
                counts[str(item.id)] = count
    if counts != known:
        store.meta.set(COUNTS, json.dumps(counts) if counts else None)


def _adopted(store: Store, publisher: Publisher, job: JobRow, item: ItemRow, count: int) -> bool:
    """Adopt the picture, else queue the item again or give it up; whether it was adopted."""
    if publisher.adopt(item, recipe_of(job, item)) is not None:
        log.info("job %d, picture %d was finished already: %s", job.id, item.index + 1, display(item.path))
        return True
    if count >= MAX_INTERRUPTIONS:
        text = f"the program ended {count} times while this picture was made, so it is set aside"
        store.jobs.item_failed(item.id, text, retry_at=None)
    else:
        store.jobs.give_back(item.id)
    return False
