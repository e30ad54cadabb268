"""What an earlier process left begun: adopted where the picture is there, queued again where it is not."""

from __future__ import annotations

import json
import logging

from indexd.fs.paths import display
from indexd.jobs.files.publish import Publisher
from indexd.jobs.job_report import recipe_with_job
from indexd.jobs.queue.retry import MAX_INTERRUPTIONS
from indexd.store.protocols import IndexStore
from indexd.store.records import JobItemRow, JobRow

log = logging.getLogger(__name__)

INTERRUPTIONS_KEY = "jobs.interruptions"


def recover_in_flight(store: IndexStore, publisher: Publisher) -> None:
    """Settle every item that was in hand when the last process ended.

    The process may have been ended by anybody, so that attempt is not counted against the item; but how often an item was
    in hand when it happened is kept, and one that was so too often is given up: it may be what takes the machine down.
    """
    known: dict[str, int] = json.loads(store.key_values.get(INTERRUPTIONS_KEY) or "{}")
    counts: dict[str, int] = {}
    for job in store.jobs.unfinished():
        if not job.item_counts.get("running") and not known:
            continue
        for item in store.jobs.items(job.id):
            count = known.get(str(item.id), 0) + (item.state == "running")
            waits = item.state == "queued"
            if item.state == "running":
                waits = not _adopt_or_requeue(store, publisher, job, item, count)
            if waits and count:
                counts[str(item.id)] = count
    if counts != known:
        store.key_values.set(INTERRUPTIONS_KEY, json.dumps(counts) if counts else None)


def _adopt_or_requeue(store: IndexStore, publisher: Publisher, job: JobRow, item: JobItemRow, count: int) -> bool:
    """Adopt the picture, else queue the item again or give it up; whether it was adopted."""
    if publisher.adopt(item, recipe_with_job(job, item)) is not None:
        log.info("job %d, picture %d was finished already: %s", job.id, item.index + 1, display(item.path))
        return True
    if count >= MAX_INTERRUPTIONS:
        text = f"the program ended {count} times while this picture was made, so it is set aside"
        store.jobs.mark_item_failed(item.id, text, retry_at=None)
    else:
        store.jobs.requeue_item(item.id)
    return False
