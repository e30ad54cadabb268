"""The end of a job: when its last picture is settled, the row says how it ended, and its file goes where that belongs."""

from __future__ import annotations

import logging

from indexd.jobs.job_lookup import require_job
from indexd.jobs.service import JobService
from indexd.store.protocols import IndexStore
from indexd.store.records import JobRow, JobState

log = logging.getLogger(__name__)


class JobFinisher:
    """Ends jobs. Only the runner's thread uses it."""

    def __init__(self, store: IndexStore, jobs: JobService) -> None:
        self._ledger = store.jobs
        self._jobs = jobs
        self._changed: set[int] = set()

    def mark_changed(self, job_id: int) -> None:
        """Something became of a picture of this job."""
        self._changed.add(job_id)

    def finish_ended_jobs(self) -> None:
        """End those of the jobs looked at whose last picture is settled. Raises StorageFull; then the rest is kept."""
        while self._changed:
            job_id = min(self._changed)
            self._finish(job_id)
            self._changed.discard(job_id)

    def _finish(self, job_id: int) -> None:
        with self._jobs.lock:
            job = require_job(self._ledger, job_id)
            counts = job.item_counts
            if job.state in ("queued", "running"):
                if counts.get("queued") or counts.get("running"):
                    return
                rejected = self._jobs.reject_mover.move_rejects(job_id)
                error = self._failure_summary(job) if counts.get("failed") else None
                state: JobState = "failed" if error else "done"
                self._ledger.finish(job_id, state, error, unnotified=state in self._jobs.notify_on)
                job = require_job(self._ledger, job_id)
                log.info("job %d (%s) is %s%s", job.id, job.name, job.state, f": {error}" if error else "")
                if rejected:
                    log.info("job %d: %d pictures are not kept and lie in rejected/", job.id, rejected)
        self._jobs.file_sync.settle(job_id)
        if job.state in self._jobs.notify_on:
            self._jobs.signal_finished()

    def _failure_summary(self, job: JobRow) -> str:
        items = self._ledger.items(job.id)
        failed = [item for item in items if item.state == "failed"]
        return f"{len(failed)} of {len(items)} pictures failed; picture {failed[0].index + 1}: {failed[0].error}"
