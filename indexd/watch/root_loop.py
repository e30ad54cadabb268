"""One watched folder, round by round: identity, events, requests, timers, scans, settling files."""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Callable, Sequence

from indexd.fs.file_stamp import FileStamp
from indexd.fs.mounts import Mount, find_mount
from indexd.fs.paths import absolute, display
from indexd.watch.delivery import Delivery
from indexd.watch.file_guard import guard_file
from indexd.watch.root_context import RootContext
from indexd.watch.root_identity import IdentityCheck, RootIdentity
from indexd.watch.roots import RootStatus, WatchedRoot
from indexd.watch.scan.scan_scheduler import ScanScheduler
from indexd.watch.settle import NoticeSource, SettledEntry, Settler
from indexd.watch.settle_probe import FileProbe, probe_file
from indexd.watch.sidecar_names import find_images_of_sidecar, is_sidecar
from indexd.watch.watchers.watcher import Hint, WatcherFailed
from indexd.watch.watchers.watcher_lifecycle import WatcherLifecycle

log = logging.getLogger(__name__)

# Scans wait while so many files are unsettled, so that memory stays bounded.
_PENDING_MAX = 5000
# A periodic sweep or poll may take at most one part in so many of the time.
_SWEEP_SHARE = 200
_POLL_SHARE = 20
_IDENTITY_CHECK_SECONDS = 20.0
# An event may still be on its way when a scan finds the file, so younger files are not counted as lost.
_EVENT_DELAY_SECONDS = 2.0
# A caller of `scan(wait=True)` does not wait longer than this for a file that keeps growing.
_SCAN_WAIT_SECONDS = 5.0


class RootLoop:
    """The state of one root; `run_once` does one round. Nothing here sleeps or waits, but `deliver` may.

    `wake` is called when a watcher has hints or a scan is requested. One thread calls `run_once`; `request_scan` and
    `status` may be called from any.
    """

    def __init__(self, root: WatchedRoot, context: RootContext, wake: Callable[[], None]) -> None:
        self.root = root
        self._options = context.options
        self._on_event = context.on_event
        self._clock = context.clock
        self._wall = context.wall
        self._wake = wake
        self._lock = threading.Lock()
        self._mount = Mount()
        self._identity = RootIdentity(root.path, root.identity, root.foreign_root)
        self._watcher = WatcherLifecycle(root, context.open_watcher, wake)
        self._settler = Settler(self._probe, context.options.settle_seconds)
        self._delivery = Delivery(root, context)
        self._scans = ScanScheduler(root, context, self._identity, self._settler, self._delivery)
        self._requests: list[tuple[str, NoticeSource, threading.Event]] = []
        self._tickets: list[tuple[float, threading.Event]] = []
        self._is_first_check = True
        self._identity_check_due = self._sweep_due = self._full_requested_at = float("-inf")
        self._missed_events = self._missed_events_reported = 0
        self._foreign_root_reported = False

    def request_scan(self, reason: str, source: NoticeSource) -> threading.Event:
        """Scan the whole folder; the event is set when that is done and the files it found are settled."""
        ticket = threading.Event()
        with self._lock:
            self._requests.append((reason, source, ticket))
        self._wake()
        return ticket

    def status(self) -> RootStatus:
        """The status of the root now."""
        online = self._identity.is_online
        return RootStatus(
            root_id=self.root.id,
            path=self.root.path,
            purpose=self.root.purpose,
            mode=self._watcher.mode,
            reason=self._watcher.reason if online else self._identity.reason,
            online=online,
            identity=self._identity.trusted_identity,
            last_reconcile=self._scans.last_full_at,
            pending=len(self._settler),
            lost_events=self._missed_events,
            scanning=self._scans.is_busy,
            foreign_root=self._identity.foreign_root,
        )

    def run_once(self) -> float:
        """Do one round; returns the time on `clock` at which the next one is due if nothing happens before."""
        now = self._clock()
        if now >= self._identity_check_due:
            self._check_identity(now)
        hints, failure = self._watcher.take_hints(now)
        self._handle_hints(hints, now)
        if failure is not None:
            self._recover_watcher(failure, now)
        self._start_requested_scans()
        self._run_timers(now)
        if len(self._settler) < _PENDING_MAX:
            self._scans.run_slice()
            outdated, self._scans.outdated_images = self._scans.outdated_images, []
            self._redeliver(outdated, "a sidecar file")
            if self._scans.root_replaced:
                self._scans.root_replaced = False
                self._delivery.forget_deliveries()
                self._identity_check_due = now
            self._report_foreign_root()
        self._deliver_settled(self._clock())
        self._finish_tickets(self._clock())
        return self._next_due(self._clock())

    def recover_from_error(self) -> None:
        """After an exception in `run_once`: drop the scans under way, and scan everything again."""
        self._scans.cancel_all()
        self._scans.request_full("missed")

    def close(self) -> None:
        """Stop the watcher, and release everyone who waits for a scan."""
        self._watcher.close()
        self._scans.cancel_all()
        with self._lock:
            waiting = [ticket for _, _, ticket in self._requests]
        for ticket in (*waiting, *self._scans.finished_tickets, *(ticket for _, ticket in self._tickets)):
            ticket.set()

    def _probe(self, rel: bytes) -> FileProbe:
        return probe_file(
            absolute(self.root.path, rel),
            use_leases=not self._mount.is_remote,
            stable_inodes=self._mount.has_stable_inodes,
        )

    def _check_identity(self, now: float) -> IdentityCheck:
        was_there, first = self._identity.is_present, self._is_first_check
        result = self._identity.check()
        self._is_first_check = False
        if result != "same":
            self._delivery.forget_deliveries()
        check_again = min(_IDENTITY_CHECK_SECONDS, self._options.sweep_seconds or _IDENTITY_CHECK_SECONDS)
        self._identity_check_due = now + (check_again if self._identity.is_present else self._options.poll_seconds)
        path = display(self.root.path)
        if result == "offline" and (was_there or first):
            self._on_event("offline", f"{path}: {self._identity.reason}", self.root.id)
            self._watcher.close()
            self._scans.cancel_all()
        elif result == "replaced":
            self._read_mount(first)
            if not first:
                what = "is another folder now" if was_there else "is there again"
                self._on_event("online", f"{path} {what}; it is compared with the index", self.root.id)
            self._watcher.open(now)
            self._scans.restart_full("scan")
            self._request_full_scan("scan", now)
        return result

    def _read_mount(self, first: bool) -> None:
        try:
            self._mount = self._watcher.mount = find_mount(self.root.path)
        except OSError:
            # Without the mount the folder must not be watched, and the next check must report it as new once more.
            self._identity.reset()
            self._is_first_check = first
            raise
        self._scans.has_stable_inodes = self._mount.has_stable_inodes

    def _report_foreign_root(self) -> None:
        """Report once when a scan found another folder in the place of the indexed one, and once when the right one is back."""
        is_foreign = self._identity.is_present and not self._identity.is_online
        if is_foreign == self._foreign_root_reported:
            return
        self._foreign_root_reported = is_foreign
        path = display(self.root.path)
        if is_foreign:
            self._on_event("offline", f"{path}: {self._identity.reason}", self.root.id)
        elif self._identity.is_present:
            self._on_event("online", f"{path} holds the indexed files", self.root.id)

    def _recover_watcher(self, failure: WatcherFailed, now: float) -> None:
        if self._check_identity(now) == "same":
            text = f"{display(self.root.path)}: {failure.reason}; it is compared with the index"
            self._on_event("watcher", text, self.root.id)
            self._watcher.recover(failure, now)
            # The folder may have been moved away and back again.
            self._delivery.forget_deliveries()
            self._request_full_scan("missed", now)

    def _start_requested_scans(self) -> None:
        with self._lock:
            requests, self._requests = self._requests, []
        for reason, source, ticket in requests:
            if self._identity.is_present:
                log.info("comparing %s with the index: %s", display(self.root.path), reason)
                self._scans.request_full(source, [ticket])
            else:
                ticket.set()

    def _handle_hints(self, hints: dict[bytes, Hint], now: float) -> None:
        # Removals first, so that a renamed file is recognised by the loss of its old name.
        self._handle_gone([hint.rel for hint in hints.values() if hint.change == "gone"])
        for hint in hints.values():
            if hint.change != "gone":
                with guard_file(self.root.path, hint.rel):
                    self._handle_hint(hint, now)

    def _handle_hint(self, hint: Hint, now: float) -> None:
        watch_filter = self.root.watch_filter
        if self._is_folder(hint):
            # The sweep handles a folder that only "changed": it compares modification times.
            if hint.change != "changed" and watch_filter.enters(hint.rel):
                self._scans.request_folder(hint.rel)
        elif watch_filter.includes_path(hint.rel) or (self.root.purpose == "images" and is_sidecar(hint.rel)):
            self._settler.notice(hint.rel, now, finished=hint.change == "renamed")

    def _is_folder(self, hint: Hint) -> bool:
        if hint.is_folder is not None:
            return hint.is_folder
        try:
            return stat.S_ISDIR(os.lstat(absolute(self.root.path, hint.rel)).st_mode)
        except OSError:
            return False

    def _handle_gone(self, rels: list[bytes]) -> None:
        if rels:
            self._delivery.mark_missing(self._delivery.indexed_at_or_below(rels), self._identity.is_indexed_root)

    def _run_timers(self, now: float) -> None:
        if not self._identity.is_present:
            return
        retry = self._watcher.retry_at
        if retry is not None and now >= retry and self._watcher.open(now):
            self._request_full_scan("scan", now)
        if self._scans.is_busy:
            return
        native = self._watcher.mode == "native"
        if now >= self._full_requested_at + self._full_scan_interval():
            self._watcher.send_cookie(now)
            self._request_full_scan("missed" if native else "scan", now)
        elif native and now >= self._sweep_due:
            self._scans.request_sweep()
            self._sweep_due = now + self._sweep_interval()

    def _request_full_scan(self, source: NoticeSource, now: float) -> None:
        self._scans.request_full(source)
        self._full_requested_at = now
        self._sweep_due = now + self._sweep_interval()

    def _full_scan_interval(self) -> float:
        timer = self._options.reconcile_seconds or float("inf")
        if self._watcher.mode == "native":
            return timer
        return min(timer, max(self._options.poll_seconds, self._scans.full_seconds * _POLL_SHARE))

    def _sweep_interval(self) -> float:
        return max(self._options.sweep_seconds or float("inf"), self._scans.sweep_seconds * _SWEEP_SHARE)

    def _deliver_settled(self, now: float) -> None:
        result = self._settler.check_due(now)
        self._handle_gone(result.gone)
        for settled in result.settled:
            with guard_file(self.root.path, settled.rel):
                self._deliver(settled)
        if self._missed_events > self._missed_events_reported and not self._scans.is_busy and not self._settler:
            count, self._missed_events_reported = (
                self._missed_events - self._missed_events_reported,
                self._missed_events,
            )
            text = f"{display(self.root.path)}: a scan found {count} files that no event had reported"
            self._on_event("lost", text, self.root.id)

    def _deliver(self, settled: SettledEntry) -> None:
        rel, stamp, source = settled.rel, settled.stamp, settled.source
        if not settled.is_readable:
            # An indexed file that became unreadable is still known; a new one is recorded until its permission changes.
            if self._delivery.is_indexed(rel, stamp):
                return
            stamp = self._unreadable_stamp(rel, stamp)
        if not self.root.watch_filter.includes_path(rel):
            self._redeliver_for_sidecar(rel)
            return
        if self._delivery.is_in_flight(rel, stamp):
            return
        if source == "event" and (self._delivery.is_indexed(rel, stamp) or self._delivery.record_if_moved(rel, stamp)):
            return
        age = self._wall() - stamp.mtime_ns / 1e9
        if source == "missed" and self._watcher.mode == "native" and age > _EVENT_DELAY_SECONDS:
            self._missed_events += 1
        self._delivery.deliver(rel, stamp)

    def _unreadable_stamp(self, rel: bytes, stamp: FileStamp) -> FileStamp:
        try:
            found = os.lstat(absolute(self.root.path, rel))
        except OSError:
            return stamp
        return FileStamp.of_unreadable(found, stable_inodes=self._mount.has_stable_inodes)

    def _redeliver_for_sidecar(self, sidecar: bytes) -> None:
        """A sidecar file was written: read its images once more, although they did not change."""
        self._redeliver(find_images_of_sidecar(self.root.path, sidecar), display(sidecar))

    def _redeliver(self, rels: Sequence[bytes], reason: str) -> None:
        for rel in rels:
            stamp = self._probe(rel).stamp
            # A file that is not indexed yet comes with its own event, and under its own name where case does not count.
            if stamp is not None and (self._delivery.is_indexed(rel, stamp) or self._delivery.is_in_flight(rel, stamp)):
                log.debug("%s is read again because of %s", display(rel), reason)
                self._delivery.deliver(rel, stamp)

    def _finish_tickets(self, now: float) -> None:
        done, self._scans.finished_tickets = self._scans.finished_tickets, []
        limit = now + self._options.settle_seconds + _SCAN_WAIT_SECONDS
        self._tickets.extend((limit, ticket) for ticket in done)
        waiting = [(due, ticket) for due, ticket in self._tickets if self._settler and now < due]
        for due, ticket in self._tickets:
            if (due, ticket) not in waiting:
                ticket.set()
        self._tickets = waiting

    def _next_due(self, now: float) -> float:
        if self._scans.is_busy and len(self._settler) < _PENDING_MAX:
            return now
        due = [self._identity_check_due, *(due for due, _ in self._tickets)]
        due += [time for time in (self._settler.next_due(), self._watcher.next_due()) if time is not None]
        if self._identity.is_present:
            due.append(self._full_requested_at + self._full_scan_interval())
            if self._watcher.mode == "native":
                due.append(self._sweep_due)
        return min(due)
