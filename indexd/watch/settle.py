"""Decides when a file is finished (settled). Pure logic over probes and a clock that the caller provides.

A file is settled at once when nobody has it open for writing (where the system can tell), or when it was renamed into
place; else when size, time and inode have not changed for `settle_seconds`.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from indexd.background.backoff import Backoff
from indexd.fs.file_stamp import FileStamp
from indexd.fs.paths import display
from indexd.watch.settle_probe import FileProbe

log = logging.getLogger(__name__)

# What noticed the file: an event, a scan that had to find it, or a scan that found what no event had reported.
NoticeSource = Literal["event", "scan", "missed"]

# The pauses between probes while a writer has the file open.
_FIRST_RETRY_SECONDS = 0.02
_LAST_RETRY_SECONDS = 1.0
# A writer that keeps a finished file open (a leaked descriptor) does not hide it for longer than this.
_HELD_OPEN_SECONDS = 60.0


class SettledEntry(NamedTuple):
    """A finished file, its stamp, and what noticed it first."""

    rel: bytes
    stamp: FileStamp
    source: NoticeSource
    is_readable: bool = True


class SettleResult(NamedTuple):
    """The outcome of one round of probes."""

    settled: list[SettledEntry]
    gone: list[bytes]


@dataclass(slots=True)
class _PendingFile:
    source: NoticeSource
    is_finished: bool
    due: float
    backoff: Backoff = field(default_factory=lambda: Backoff(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS))
    stamp: FileStamp | None = None
    unchanged_since: float = field(default=0.0)


class Settler:
    """The files of one root that were noticed and are not yet known to be finished.

    `probe` gives the state of a file by its `rel`. Times are seconds of any clock that never goes back.
    """

    def __init__(self, probe: Callable[[bytes], FileProbe], settle_seconds: float) -> None:
        self._probe = probe
        self._settle_seconds = settle_seconds
        self._pending: dict[bytes, _PendingFile] = {}
        self._due: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._pending)

    def notice(self, rel: bytes, now: float, *, finished: bool = False, source: NoticeSource = "event") -> None:
        """Something happened to the file: probe it now. `finished`: it was renamed into place, or is old."""
        pending = self._pending.get(rel)
        if pending is None:
            self._pending[rel] = _PendingFile(source, finished, now)
        elif pending.due > now:
            # The writer may have closed the file, so the rest of a long pause is skipped.
            pending.is_finished, pending.due = finished, now
            pending.backoff.reset()
        else:
            pending.is_finished = finished
            return
        heapq.heappush(self._due, (now, rel))

    def next_due(self) -> float | None:
        """When the next probe is due; None while nothing is pending."""
        while self._due:
            due, rel = self._due[0]
            pending = self._pending.get(rel)
            if pending is not None and pending.due == due:
                return due
            heapq.heappop(self._due)
        return None

    def check_due(self, now: float, limit: int = 256) -> SettleResult:
        """Probe the files that are due, at most `limit` of them, the oldest first."""
        result = SettleResult([], [])
        for _ in range(limit):
            due = self.next_due()
            if due is None or due > now:
                break
            _, rel = heapq.heappop(self._due)
            try:
                self._check_file(rel, self._pending[rel], now, result)
            except OSError:
                heapq.heappush(self._due, (due, rel))
                raise
            except Exception:
                # Nothing about one file may hold up the others.
                log.exception("skipping %s: a bug while probing it", display(rel))
                self._pending.pop(rel, None)
        return result

    def _check_file(self, rel: bytes, pending: _PendingFile, now: float, result: SettleResult) -> None:
        probe = self._probe(rel)
        if probe.stamp is None:
            del self._pending[rel]
            result.gone.append(rel)
            return
        if pending.stamp != probe.stamp:
            pending.stamp, pending.unchanged_since = probe.stamp, now
        pause = self._seconds_to_next_probe(probe, pending, now)
        if pause is None:
            del self._pending[rel]
            result.settled.append(SettledEntry(rel, probe.stamp, pending.source, probe.is_readable))
            return
        pending.due = now + pause
        heapq.heappush(self._due, (pending.due, rel))

    def _seconds_to_next_probe(self, probe: FileProbe, pending: _PendingFile, now: float) -> float | None:
        """Seconds until the next probe; None when the file is settled."""
        unchanged_seconds = now - pending.unchanged_since
        if probe.has_writer:
            if unchanged_seconds >= max(_HELD_OPEN_SECONDS, self._settle_seconds):
                return None
            return pending.backoff.fail()
        # Between two opens of its maker, an empty new file has no writer either.
        finished = pending.is_finished or (
            probe.has_writer is False and probe.stamp is not None and probe.stamp.size > 0
        )
        if finished or unchanged_seconds >= self._settle_seconds:
            return None
        return self._settle_seconds - unchanged_seconds
