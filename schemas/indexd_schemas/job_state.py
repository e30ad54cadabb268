"""The states of jobs and job items. Imports no pydantic, because the command line reads it at every start."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job, and of an item of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether it has ended; only `indexd jobs retry` starts it again."""
        return self not in (JobState.QUEUED, JobState.RUNNING)
