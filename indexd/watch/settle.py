"""When is a file finished? Pure logic over looks and a clock that both come in from outside.

A file is settled at once when nobody has it open for writing (where the system can tell), or when it was renamed into
place; else when size, time and inode have not changed for `settle_seconds`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from indexd.fs.file_stamp import FileStamp
from indexd.watch.settle_probe import FileProbe

# Who told of the file: an event, a scan that was bound to find it, or a scan that found what an event had missed.
NoticeSource = Literal["event", "scan", "missed"]

# While a writer has the file open it is looked at again after this long, doubled each time up to the second figure.
_FIRST_RETRY_SECONDS = 0.02
_LAST_RETRY_SECONDS = 1.0
# A writer that keeps a finished file open (a leaked descriptor) does not hide it for longer than this.
_HELD_OPEN_SECONDS = 60.0


class SettledEntry(NamedTuple):
    """A file that is finished, as it was seen, and who told of it first."""

    rel: bytes
    stamp: FileStamp
    source: NoticeSource


class SettleResult(NamedTuple):
    """What one round of looking gave."""

    settled: list[SettledEntry]
    gone: list[bytes]


@dataclass(slots=True)
class _PendingFile:
    source: NoticeSource
    is_finished: bool
    due: float
    retry_seconds: float = _FIRST_RETRY_SECONDS
    stamp: FileStamp | None = None
    unchanged_since: float = field(default=0.0)


class Settler:
    """The files of one root that were noticed and are not yet known to be finished.

    `look` gives the state of a file by its `rel`. Times are seconds of any clock that never goes back.
    """

    def __init__(self, probe: Callable[[bytes], FileProbe], settle_seconds: float) -> None:
        self._probe = probe
        self._settle_seconds = settle_seconds
        self._pending: dict[bytes, _PendingFile] = {}
        self._due: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._pending)

    def notice(self, rel: bytes, now: float, *, finished: bool = False, source: NoticeSource = "event") -> None:
        """Something happened to the file: look at it now. `finished`: it was renamed into place, or is old."""
        waiting = self._pending.get(rel)
        if waiting is None:
            self._pending[rel] = _PendingFile(source, finished, now)
        elif waiting.due > now:
            # A writer that closed the file must not wait for the end of a long pause between two looks.
            waiting.is_finished, waiting.due, waiting.retry_seconds = finished, now, _FIRST_RETRY_SECONDS
        else:
            waiting.is_finished = finished
            return
        heapq.heappush(self._due, (now, rel))

    def next_due(self) -> float | None:
        """When the next look is due, or None while nothing waits."""
        while self._due:
            due, rel = self._due[0]
            waiting = self._pending.get(rel)
            if waiting is not None and waiting.due == due:
                return due
            heapq.heappop(self._due)
        return None

    def check_due(self, now: float, limit: int = 256) -> SettleResult:
        """Look at what is due, at most `limit` files, oldest first."""
        ready = SettleResult([], [])
        for _ in range(limit):
            due = self.next_due()
            if due is None or due > now:
                break
            _, rel = heapq.heappop(self._due)
            try:
                self._check_file(rel, self._pending[rel], now, ready)
            except BaseException:
                heapq.heappush(self._due, (due, rel))
                raise
        return ready

    def _check_file(self, rel: bytes, pending: _PendingFile, now: float, ready: SettleResult) -> None:
        look = self._probe(rel)
        if look.stamp is None:
            del self._pending[rel]
            ready.gone.append(rel)
            return
        if pending.stamp != look.stamp:
            pending.stamp, pending.unchanged_since = look.stamp, now
        pause = self._seconds_to_next_probe(look, pending, now)
        if pause is None:
            del self._pending[rel]
            ready.settled.append(SettledEntry(rel, look.stamp, pending.source))
            return
        pending.due = now + pause
        heapq.heappush(self._due, (pending.due, rel))

    def _seconds_to_next_probe(self, probe: FileProbe, pending: _PendingFile, now: float) -> float | None:
        """Seconds until the next look, or None: settled."""
        still = now - pending.unchanged_since
        if probe.has_writer:
            if still >= max(_HELD_OPEN_SECONDS, self._settle_seconds):
                return None
            pause, pending.retry_seconds = pending.retry_seconds, min(pending.retry_seconds * 2, _LAST_RETRY_SECONDS)
            return pause
        # A file that was only made and not yet filled has no writer either, between two opens of its maker.
        told = pending.is_finished or (probe.has_writer is False and probe.stamp is not None and probe.stamp.size > 0)
        if told or still >= self._settle_seconds:
            return None
        return self._settle_seconds - still
