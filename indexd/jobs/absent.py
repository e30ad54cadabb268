"""Jobs that wait for a model file which is gone, while the others go on."""

from __future__ import annotations

import logging
from collections.abc import Collection

from indexd.jobs.setbacks import Setback

log = logging.getLogger(__name__)


class AbsentModels:
    """Which jobs wait, for what, and when to look again. In memory: a new process finds the same out by itself."""

    def __init__(self) -> None:
        self._waiting: dict[int, Setback] = {}

    def hold(self, job_id: int, setback: Setback, now: float) -> None:
        """Leave the job alone until the setback is cured."""
        if job_id not in self._waiting:
            log.warning("job %d waits: %s", job_id, setback.reason)
            setback.next_probe(now)
            self._waiting[job_id] = setback

    def probe(self, now: float) -> None:
        """Let go of the jobs whose cause is gone, where it is time to look."""
        for job_id, setback in list(self._waiting.items()):
            if not setback.due(now):
                continue
            if setback.cured():
                del self._waiting[job_id]
            else:
                setback.next_probe(now)

    def jobs(self) -> Collection[int]:
        """The jobs that wait."""
        return self._waiting.keys()

    def reason(self) -> str:
        """Why the one that has waited longest waits."""
        return next(iter(self._waiting.values())).reason

    def probe_at(self) -> float:
        """When to look next."""
        return min(setback.probe_at for setback in self._waiting.values())
