"""Recovery of items that were in flight when the process ended: adopted where the file is there, else queued again."""

from __future__ import annotations

import json
import logging

from indexd.fs.paths import display
from indexd.jobs.files.publish import Publisher
from indexd.jobs.queue.retry import MAX_INTERRUPTIONS
from indexd.store.protocols import IndexStore
from indexd.store.records import JobItemRow, JobRow
from indexd_schemas.job_state import JobState

log = logging.getLogger(__name__)

INTERRUPTIONS_KEY = "jobs.interruptions"


def recover_in_flight(store: IndexStore, publisher: Publisher) -> None:
    """Settle every item that was in flight when the last process ended.

    Anything may have ended the process, so the attempt is not counted. But the number of such interruptions is kept for
    each item, and after MAX_INTERRUPTIONS it fails: it may be what takes the machine down.
    """
    known: dict[str, int] = json.loads(store.key_values.get(INTERRUPTIONS_KEY) or "{}")
    counts: dict[str, int] = {}
    for job in store.jobs.unfinished():
        if not job.item_counts.get(JobState.RUNNING) and not known:
            continue
        for item in store.jobs.items(job.id):
            count = known.get(str(item.id), 0) + (item.state is JobState.RUNNING)
            waits = item.state is JobState.QUEUED
            if item.state is JobState.RUNNING:
                waits = not _adopt_or_requeue(store, publisher, job, item, count)
            if waits and count:
                counts[str(item.id)] = count
    if counts != known:
        store.key_values.set(INTERRUPTIONS_KEY, json.dumps(counts) if counts else None)


def _adopt_or_requeue(store: IndexStore, publisher: Publisher, job: JobRow, item: JobItemRow, count: int) -> bool:
    """Adopt the item's file, else queue the item again or fail it; whether it was adopted."""
    if publisher.adopt(item) is not None:
        log.info("job %d, item %d was finished already: %s", job.id, item.index + 1, display(item.path))
        return True
    if count >= MAX_INTERRUPTIONS:
        text = f"indexd ended {count} times while it rendered this item, so it does not try the item again"
        store.jobs.mark_item_failed(item.id, text, retry_at=None)
    else:
        store.jobs.requeue_item(item.id)
    return False
