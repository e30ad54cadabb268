"""What one watched folder needs done, round by round: place, events, requests, timers, scans, settling files."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence

from indexd.watch.beside import is_text, pictures_of
from indexd.watch.delivery import Delivery
from indexd.watch.events import RootEvents
from indexd.watch.known import KnownFiles
from indexd.watch.look import Look, look_at
from indexd.watch.mounts import Mount, mount_of
from indexd.watch.paths import absolute, display
from indexd.watch.roots import RootStatus, WatchedRoot, WatchOptions
from indexd.watch.scans import Scans
from indexd.watch.settle import Settled, Settler, Source
from indexd.watch.stamp import SettledFile
from indexd.watch.standing import Standing, Verdict
from indexd.watch.watcher import Hint, OpenWatcher, WatcherFailed, open_watcher

log = logging.getLogger(__name__)

OnEvent = Callable[[str, str, int | None], None]

# Scans wait while so many files are to be looked at, so that memory stays bounded.
_ENOUGH_PENDING = 5000
# Of the time, a pass that nothing asked for takes at most one part in so many.
_SWEEP_SHARE = 200
_POLL_SHARE = 20
_PLACE_SECONDS = 20.0
# An event may still be on its way when a scan finds the file; younger files are not counted as lost.
_EVENT_SECONDS = 2.0
# Who waits for a scan does not wait for a file that grows for ever.
_TICKET_SECONDS = 5.0


class RootRounds:
    """The state of one root; `turn` does one round. Nothing here sleeps or waits, but `deliver` may.

    `wake` is notified when a watcher has news. `clock` never goes back, `wall` is seconds since the epoch. One thread
    calls `turn`; `request` and `status` may be called from any.
    """

    def __init__(
        self,
        root: WatchedRoot,
        known: KnownFiles,
        deliver: Callable[[SettledFile], None],
        on_event: OnEvent,
        options: WatchOptions,
        wake: threading.Condition,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        opener: OpenWatcher = open_watcher,
    ) -> None:
        self.root = root
        self._options = options
        self._on_event = on_event
        self._clock = clock
        self._wall = wall
        self._wake = wake
        self._mount = Mount()
        self._standing = Standing(root.path, root.identity, root.stranger)
        self._events = RootEvents(root, opener, wake)
        self._settler = Settler(self._look, options.settle_seconds)
        self._delivery = Delivery(root, known, deliver, wall)
        self._scans = Scans(root, known, self._standing, self._settler, self._delivery, clock=clock, wall=wall)
        self._asked: list[tuple[str, Source, threading.Event]] = []
        self._tickets: list[tuple[float, threading.Event]] = []
        self._first = True
        self._place_due = self._sweep_due = self._full_at = float("-inf")
        self._lost = self._lost_told = 0
        self._stranger_told = False

    def request(self, why: str, source: Source) -> threading.Event:
        """Compare the whole folder with the index; the event is set when that is done and what it found is settled."""
        ticket = threading.Event()
        with self._wake:
            self._asked.append((why, source, ticket))
            self._wake.notify()
        return ticket

    def has_news(self) -> bool:
        """Whether a turn would find something new; call with `wake` held."""
        return bool(self._asked) or self._events.has_news()

    def status(self) -> RootStatus:
        """How the root stands now."""
        online = self._standing.online
        return RootStatus(
            root_id=self.root.id,
            path=self.root.path,
            purpose=self.root.purpose,
            mode=self._events.mode,
            reason=self._events.reason if online else self._standing.reason,
            online=online,
            identity=self._standing.trusted,
            last_reconcile=self._scans.last_full_at,
            pending=len(self._settler),
            lost_events=self._lost,
            scanning=self._scans.busy,
            stranger=self._standing.stranger,
        )

    def turn(self) -> float:
        """One round; the time at which the next one is due if nothing happens before."""
        now = self._clock()
        if now >= self._place_due:
            self._check_place(now)
        hints, failure = self._events.take(now)
        self._take_hints(hints, now)
        if failure is not None:
            self._recover(failure, now)
        self._take_requests()
        self._timers(now)
        if len(self._settler) < _ENOUGH_PENDING:
            self._scans.step()
            late, self._scans.late = self._scans.late, []
            self._bring_again(late, "a text beside it")
            if self._scans.exchanged:
                self._scans.exchanged = False
                self._delivery.forget_sent()
                self._place_due = now
            self._tell_of_stranger()
        self._settle(self._clock())
        self._finish_tickets(self._clock())
        return self._next_due(self._clock())

    def recover_from_mistake(self) -> None:
        """After an exception in `turn`: what was under way is forgotten, and everything is compared again."""
        self._scans.drop()
        self._scans.want_full("missed")

    def close(self) -> None:
        """Stop the watcher; nobody waits for a scan any longer."""
        self._events.close()
        self._scans.drop()
        with self._wake:
            waiting = [ticket for _, _, ticket in self._asked]
        for ticket in (*waiting, *self._scans.finished_tickets, *(ticket for _, ticket in self._tickets)):
            ticket.set()

    def _look(self, rel: bytes) -> Look:
        return look_at(absolute(self.root.path, rel), leases=not self._mount.remote, inodes=self._mount.inodes)

    def _check_place(self, now: float) -> Verdict:
        was_there, first = self._standing.is_there, self._first
        verdict = self._standing.check()
        self._first = False
        if verdict != "same":
            self._delivery.forget_sent()
        look_again = min(_PLACE_SECONDS, self._options.sweep_seconds or _PLACE_SECONDS)
        self._place_due = now + (look_again if self._standing.is_there else self._options.poll_seconds)
        path = display(self.root.path)
        if verdict == "offline" and (was_there or first):
            self._on_event("offline", f"{path}: {self._standing.reason}", self.root.id)
            self._events.close()
            self._scans.drop()
        elif verdict == "replaced":
            self._look_at_mount(first)
            if not first:
                what = "is another folder now" if was_there else "is there again"
                self._on_event("online", f"{path} {what}; it is compared with the index", self.root.id)
            self._events.open(now)
            self._scans.start_anew("scan")
            self._want_full("scan", now)
        return verdict

    def _look_at_mount(self, first: bool) -> None:
        try:
            self._mount = self._events.mount = mount_of(self.root.path)
        except OSError:
            # Without that it must not be watched, and the next look must see it come once more.
            self._standing.forget()
            self._first = first
            raise
        self._scans.inodes = self._mount.inodes

    def _tell_of_stranger(self) -> None:
        """Say once when a scan found another folder in the place of the indexed one, and when it is the right one again."""
        stranger = self._standing.is_there and not self._standing.online
        if stranger == self._stranger_told:
            return
        self._stranger_told = stranger
        path = display(self.root.path)
        if stranger:
            self._on_event("offline", f"{path}: {self._standing.reason}", self.root.id)
        elif self._standing.is_there:
            self._on_event("online", f"{path} holds the indexed files", self.root.id)

    def _recover(self, failure: WatcherFailed, now: float) -> None:
        if self._check_place(now) == "same":
            text = f"{display(self.root.path)}: {failure.reason}; it is compared with the index"
            self._on_event("watcher", text, self.root.id)
            self._events.recover(failure, now)
            # It may have been moved away and back again.
            self._delivery.forget_sent()
            self._want_full("missed", now)

    def _take_requests(self) -> None:
        with self._wake:
            asked, self._asked = self._asked, []
        for why, source, ticket in asked:
            if self._standing.is_there:
                log.info("comparing %s with the index: %s", display(self.root.path), why)
                self._scans.want_full(source, [ticket])
            else:
                ticket.set()

    def _take_hints(self, hints: dict[bytes, Hint], now: float) -> None:
        # What is gone first, so that a file under a new name is recognised as one that has just lost its old one.
        self._take_gone([hint.rel for hint in hints.values() if hint.change == "gone"])
        for hint in hints.values():
            if hint.change != "gone":
                self._take_hint(hint, now)

    def _take_hint(self, hint: Hint, now: float) -> None:
        selection = self.root.selection
        if self._is_folder(hint):
            # A folder that only "changed" is the sweep's business: its time says so.
            if hint.change != "changed" and selection.enters(hint.rel):
                self._scans.want_folder(hint.rel)
        elif selection.wants(hint.rel) or (self.root.purpose == "images" and is_text(hint.rel)):
            self._settler.notice(hint.rel, now, finished=hint.change == "renamed")

    def _is_folder(self, hint: Hint) -> bool:
        if hint.folder is not None:
            return hint.folder
        try:
            return stat.S_ISDIR(os.lstat(absolute(self.root.path, hint.rel)).st_mode)
        except OSError:
            return False

    def _take_gone(self, rels: list[bytes]) -> None:
        if rels:
            self._delivery.mark_gone(self._delivery.at_or_below(rels), self._standing.may_mark)

    def _timers(self, now: float) -> None:
        if not self._standing.is_there:
            return
        retry = self._events.retry_at
        if retry is not None and now >= retry and self._events.open(now):
            self._want_full("scan", now)
        if self._scans.busy:
            return
        native = self._events.mode == "native"
        if now >= self._full_at + self._full_pause():
            self._events.test(now)
            self._want_full("missed" if native else "scan", now)
        elif native and now >= self._sweep_due:
            self._scans.want_sweep()
            self._sweep_due = now + self._sweep_pause()

    def _want_full(self, source: Source, now: float) -> None:
        self._scans.want_full(source)
        self._full_at = now
        self._sweep_due = now + self._sweep_pause()

    def _full_pause(self) -> float:
        timer = self._options.reconcile_seconds or float("inf")
        if self._events.mode == "native":
            return timer
        return min(timer, max(self._options.poll_seconds, self._scans.full_seconds * _POLL_SHARE))

    def _sweep_pause(self) -> float:
        return max(self._options.sweep_seconds or float("inf"), self._scans.sweep_seconds * _SWEEP_SHARE)

    def _settle(self, now: float) -> None:
        ready = self._settler.ready(now)
        self._take_gone(ready.gone)
        for settled in ready.settled:
            self._hand_over(settled)
        if self._lost > self._lost_told and not self._scans.busy and not self._settler:
            count, self._lost_told = self._lost - self._lost_told, self._lost
            text = f"{display(self.root.path)}: a scan found {count} files of which no event had told"
            self._on_event("lost", text, self.root.id)

    def _hand_over(self, settled: Settled) -> None:
        rel, stamp, source = settled
        if not self.root.selection.wants(rel):
            self._hand_over_again(rel)
            return
        if self._delivery.is_on_its_way(rel, stamp):
            return
        if source == "event" and (self._delivery.is_known(rel, stamp) or self._delivery.recognise(rel, stamp)):
            return
        age = self._wall() - stamp.mtime_ns / 1e9
        if source == "missed" and self._events.mode == "native" and age > _EVENT_SECONDS:
            self._lost += 1
        self._delivery.hand_over(rel, stamp)

    def _hand_over_again(self, text: bytes) -> None:
        """Something was written beside pictures: they are read once more, though they are known as they are."""
        self._bring_again(pictures_of(self.root.path, text), display(text))

    def _bring_again(self, rels: Sequence[bytes], because: str) -> None:
        for rel in rels:
            stamp = self._look(rel).stamp
            # What is not known yet is brought by its own event, and under its own name where case does not count.
            if stamp is not None and (self._delivery.is_known(rel, stamp) or self._delivery.is_on_its_way(rel, stamp)):
                log.debug("%s is read again, because of %s", display(rel), because)
                self._delivery.hand_over(rel, stamp)

    def _finish_tickets(self, now: float) -> None:
        done, self._scans.finished_tickets = self._scans.finished_tickets, []
        limit = now + self._options.settle_seconds + _TICKET_SECONDS
        self._tickets.extend((limit, ticket) for ticket in done)
        waiting = [(due, ticket) for due, ticket in self._tickets if self._settler and now < due]
        for due, ticket in self._tickets:
            if (due, ticket) not in waiting:
                ticket.set()
        self._tickets = waiting

    def _next_due(self, now: float) -> float:
        if self._scans.busy and len(self._settler) < _ENOUGH_PENDING:
            return now
        due = [self._place_due, *(due for due, _ in self._tickets)]
        due += [time for time in (self._settler.next_due(), self._events.next_due()) if time is not None]
        if self._standing.is_there:
            due.append(self._full_at + self._full_pause())
            if self._events.mode == "native":
                due.append(self._sweep_due)
        return min(due)
