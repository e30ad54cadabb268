"""Repositories of jobs and their items."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from indexd.store.records import ItemOutput, JobFileLocation, JobItemRow, JobRow, NewJob
from indexd_schemas.job_state import JobState

JobRows = list[JobRow]


class JobOutputRepository(Protocol):
    """Where the outputs of job items are. Each write is one durable transaction."""

    def items(self, job_id: int) -> Sequence[JobItemRow]:
        """The items of a job, by index."""
        ...

    def item(self, item_id: int) -> JobItemRow | None:
        """One item."""
        ...

    def stage_output(self, item_id: int, output: ItemOutput | None) -> None:
        """The item's file is about to appear at the path of `output`; None = it will not, and nothing of it is there.

        After a crash, a file at that path with that content hash is the item's own.
        """
        ...

    def mark_published(self, item_id: int, output: ItemOutput) -> None:
        """The item's file is there: the item is done, even if it was cancelled meanwhile."""
        ...

    def reject(self, paths: Mapping[int, bytes]) -> None:
        """These outputs, by item id, are not kept and are about to be moved to these paths."""
        ...

    def mark_reject_moved(self, item_id: int) -> None:
        """The rejected output was moved."""
        ...

    def mark_reject_kept_in_place(self, item_id: int, reason: str) -> None:
        """The rejected output cannot be moved, for this reason, and stays."""
        ...


class JobRepository(JobOutputRepository, Protocol):
    """The job ledger. Attempts are counted before the work, so that a job that kills the worker is noticed."""

    def admit(self, job: NewJob) -> JobRow:
        """Store a job with its bytes and items. If a job has the same admission key, that job is returned."""
        ...

    def next_item(self, now: float, excluded_jobs: Collection[int] = ()) -> JobItemRow | None:
        """The next item to render: by priority, then age of the job, then index. None while the queue is paused."""
        ...

    def next_ready_at(self, excluded_jobs: Collection[int] = ()) -> float | None:
        """When the earliest queued item may be tried (epoch); None if nothing is queued."""
        ...

    def begin_attempt(self, item_id: int) -> int:
        """Start a queued item and count the attempt; returns the attempts, this one included.

        Raises LookupError if the item is not queued.
        """
        ...

    def mark_item_failed(self, item_id: int, error: str, *, retry_at: float | None) -> None:
        """The attempt failed: retry it at `retry_at` (epoch) or later, or never if that is None. A cancelled item stays cancelled."""
        ...

    def requeue_item(self, item_id: int) -> None:
        """Return a running item to queued; the attempt does not count."""
        ...

    def finish(self, job_id: int, state: JobState, error: str | None = None, *, unnotified: bool = False) -> None:
        """End a job. A cancelled job stays cancelled. `unnotified`: its notification is still to be sent."""
        ...

    def cancel(self, job_id: int, *, unnotified: bool = False) -> bool:
        """Cancel a job and its open items; returns False if the job had ended."""
        ...

    def retry(self, job_id: int) -> int:
        """Queue the failed and cancelled items of a job again, without attempts; returns how many."""
        ...

    def unnotified(self) -> JobRows:
        """The ended jobs whose notification is still to be sent."""
        ...

    def claim_notification(self, job_id: int) -> bool:
        """Whether the caller is to send the notification: False if another did, or if the job was retried."""
        ...

    def clear_notifications(self) -> None:
        """Send no notification for the jobs that have ended so far."""
        ...

    def get(self, job_id: int) -> JobRow | None:
        """One job."""
        ...

    def by_name(self, text: str) -> JobRow | None:
        """The newest job of this name; if there is none, the job whose id this is."""
        ...

    def unfinished(self) -> JobRows:
        """The queued and running jobs, in the order in which they are rendered."""
        ...

    def misplaced_files(self) -> JobRows:
        """The jobs whose file is not in the folder of their state (accepted, done or failed)."""
        ...

    def set_file_location(self, job_id: int, location: JobFileLocation) -> None:
        """The job's file was moved to this folder."""
        ...

    def counts(self) -> dict[str, int]:
        """How many jobs there are, by state."""
        ...

    def pause(self, reason: str | None) -> None:
        """Pause the queue for this reason; None resumes it."""
        ...

    def pause_reason(self) -> str | None:
        """Why the queue is paused; None if it is not."""
        ...

    def list(self, states: Collection[str] | None = None, limit: int = 100, *, before: int | None = None) -> JobRows:
        """The newest jobs of these states (None = all), newest first; only those with an id below `before`."""
        ...
