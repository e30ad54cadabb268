"""Jobs that wait for a model file which is gone, while the others go on."""

from __future__ import annotations

import logging
from collections.abc import Collection

from indexd.jobs.queue.retry import Blocked

log = logging.getLogger(__name__)


class BlockedJobs:
    """Which jobs wait, for what, and when to look again. In memory: a new process finds the same out by itself."""

    def __init__(self) -> None:
        self._blocked: dict[int, Blocked] = {}

    def block(self, job_id: int, blocked: Blocked, now: float) -> None:
        """Leave the job alone until the setback is cured."""
        if job_id not in self._blocked:
            log.warning("job %d waits: %s", job_id, blocked.reason)
            blocked.schedule_next_check(now)
            self._blocked[job_id] = blocked

    def check(self, now: float) -> None:
        """Let go of the jobs whose cause is gone, where it is time to look."""
        for job_id, setback in list(self._blocked.items()):
            if not setback.is_due(now):
                continue
            if setback.is_resolved():
                del self._blocked[job_id]
            else:
                setback.schedule_next_check(now)

    def job_ids(self) -> Collection[int]:
        """The jobs that wait."""
        return self._blocked.keys()

    def reason(self) -> str:
        """Why the one that has waited longest waits."""
        return next(iter(self._blocked.values())).reason

    def next_check_at(self) -> float:
        """When to look next."""
        return min(setback.next_check_at for setback in self._blocked.values())
