"""The scans of one root (full, new folder, sweep), one after the other and a slice at a time."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field

from indexd.fs.file_stamp import FileStamp
from indexd.watch.delivery import Delivery
from indexd.watch.file_guard import guard_file
from indexd.watch.root_context import RootContext
from indexd.watch.root_identity import RootIdentity
from indexd.watch.roots import WatchedRoot
from indexd.watch.scan.index_snapshot import IndexSnapshot
from indexd.watch.scan.reconcile import SIDECARS_MAX, ChangedFiles, TreeComparison, iter_changed_folders
from indexd.watch.settle import NoticeSource, Settler
from indexd.watch.sidecar_names import find_images_of_sidecar, is_annotation_sidecar

# A file whose last change lies this far back counts as finished at once.
_SURELY_SETTLED_SECONDS = 2.0
_GONE_BATCH = 500
_SIDECAR_BATCH = 50


@dataclass(slots=True)
class _FullScan:
    source: NoticeSource
    tickets: list[threading.Event] = field(default_factory=list)


class ScanScheduler:
    """The requested scans and the one under way. New files go to the settler, moves and removals to the delivery.

    `root_replaced`: another folder came during a scan; the caller checks which, and resets it. `outdated_images`: images
    whose sidecar file was written after they were read; the caller reads them again. Used by one thread.
    """

    def __init__(
        self,
        root: WatchedRoot,
        context: RootContext,
        identity: RootIdentity,
        settler: Settler,
        delivery: Delivery,
    ) -> None:
        self._root = root
        self._indexed = context.indexed_files
        self._identity = identity
        self._settler = settler
        self._delivery = delivery
        self._clock = context.clock
        self._wall = context.wall
        self._requested_full: _FullScan | None = None
        self._running_full: _FullScan | None = None
        self._folder_queue: deque[bytes] = deque()
        self._sweep_requested = False
        self._running: Iterator[None] | None = None
        self._folder_times: dict[bytes, int] = {}
        self.has_stable_inodes = True
        self.root_replaced = False
        self._sidecars_seen: dict[bytes, int] = {}
        self.outdated_images: list[bytes] = []
        self.finished_tickets: list[threading.Event] = []
        self.last_full_at: float | None = None
        self.full_seconds = 0.0
        self.sweep_seconds = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether there is something to do."""
        return (
            self._running is not None
            or self._requested_full is not None
            or bool(self._folder_queue)
            or self._sweep_requested
        )

    def request_full(self, source: NoticeSource, tickets: Iterable[threading.Event] = ()) -> None:
        """Scan the whole root after the scan under way, which may already be past a change that this one must see."""
        if self._requested_full is None:
            self._requested_full = _FullScan(source)
        self._requested_full.tickets.extend(tickets)

    def restart_full(self, source: NoticeSource) -> None:
        """Scan anew because another folder came: drop what was seen of the one before. Callers that wait for a scan wait on."""
        tickets: list[threading.Event] = []
        if self._running_full is not None:
            tickets, self._running_full.tickets = self._running_full.tickets, []
        self._running, self._sweep_requested = None, False
        self._folder_queue.clear()
        self._folder_times.clear()
        self.request_full(source, tickets)

    def request_folder(self, rel: bytes) -> None:
        """Scan a folder that appeared, with all below it."""
        if not any(rel == other or rel.startswith(other + b"/") for other in itertools.islice(self._folder_queue, 64)):
            self._folder_queue.append(rel)

    def request_sweep(self) -> None:
        """Scan the folders whose modification time has changed."""
        self._sweep_requested = True

    def cancel_all(self) -> None:
        """Drop all scans because the root is not there, and release the callers that wait for one."""
        if self._requested_full is not None:
            self.finished_tickets.extend(self._requested_full.tickets)
        self._requested_full, self._running, self._sweep_requested = None, None, False
        self._folder_queue.clear()
        self._folder_times.clear()

    def run_slice(self) -> None:
        """Do one slice: some milliseconds."""
        if self._running is None:
            self._running = self._next_scan()
        if self._running is not None and next(self._running, self) is self:
            self._running = None

    def _next_scan(self) -> Iterator[None] | None:
        # New folders first: they are small, and a person may wait for their files.
        if self._folder_queue:
            return self._scan_folder(self._folder_queue.popleft())
        if self._requested_full is not None:
            full, self._requested_full = self._requested_full, None
            return self._scan_all(full)
        if self._sweep_requested:
            self._sweep_requested = False
            return self._scan_changed_folders()
        return None

    def _scan_all(self, full: _FullScan) -> Iterator[None]:
        self._running_full = full
        try:
            started = self._clock()
            self._delivery.expire_deliveries()
            known = self._snapshot_under(b"")
            self._identity.note_foreign_root(known.count)
            yield
            comparison = TreeComparison(
                self._root.path, known, self._root.watch_filter, stable_inodes=self.has_stable_inodes
            )
            if not (yield from self._process_changes(comparison, known, full.source)):
                return
            self._folder_times = comparison.folder_times
            if not self._identity.verify(known.count, comparison.report.present):
                self._restart_for_replaced_root(full.source)
                return
            yield from self._mark_unseen_missing(comparison)
            self.last_full_at = self._wall()
            self.full_seconds = self._clock() - started
        finally:
            self._running_full = None
            self.finished_tickets.extend(full.tickets)

    def _scan_folder(self, rel: bytes) -> Iterator[None]:
        known = self._snapshot_under(rel)
        comparison = TreeComparison(
            self._root.path, known, self._root.watch_filter, under=rel, stable_inodes=self.has_stable_inodes
        )
        if not (yield from self._process_changes(comparison, known, "scan")):
            return
        self._folder_times.update(comparison.folder_times)
        yield from self._mark_unseen_missing(comparison)

    def _scan_changed_folders(self) -> Iterator[None]:
        started = self._clock()
        for changed in iter_changed_folders(self._root.path, self._folder_times):
            for rel in changed:
                known = self._snapshot_under(rel)
                comparison = TreeComparison(
                    self._root.path,
                    known,
                    self._root.watch_filter,
                    under=rel,
                    stable_inodes=self.has_stable_inodes,
                    known_folders=self._folder_times,
                )
                if not (yield from self._process_changes(comparison, known, "missed")):
                    return
                self._folder_times.update(comparison.folder_times)
                yield from self._mark_unseen_missing(comparison)
            yield
        self.sweep_seconds = self._clock() - started

    def _snapshot_under(self, rel: bytes) -> IndexSnapshot:
        return (
            IndexSnapshot()
            if self._root.purpose == "jobs"
            else IndexSnapshot(self._indexed.iter_present(self._root.id, rel))
        )

    def _restart_for_replaced_root(self, source: NoticeSource) -> None:
        self.root_replaced = True
        self.restart_full(source)

    def _process_changes(
        self, comparison: TreeComparison, known: IndexSnapshot, source: NoticeSource
    ) -> Generator[None, None, bool]:
        """Process the changes. False: another folder came meanwhile, so the comparison is void."""
        for found in comparison.iter_changes():
            if not self._identity.is_unchanged():
                self._restart_for_replaced_root(source)
                return False
            self._process_batch(found, known.find_by_stamp, source)
            yield
        if self._root.purpose == "images":
            yield from self._process_sidecars(comparison)
        return True

    def _process_sidecars(self, comparison: TreeComparison) -> Iterator[None]:
        """Find images whose sidecar file was written after they were read; each sidecar change counts once."""
        fresh = [(rel, mtime_ns) for rel, mtime_ns in comparison.sidecars if self._sidecars_seen.get(rel) != mtime_ns]
        if len(self._sidecars_seen) + len(fresh) > 2 * SIDECARS_MAX:
            self._sidecars_seen.clear()
        for start in range(0, len(fresh), _SIDECAR_BATCH):
            some = fresh[start : start + _SIDECAR_BATCH]
            beside = {rel: find_images_of_sidecar(self._root.path, rel) for rel, _ in some}
            # Generation texts count only for images that state nothing; annotations count for all.
            annotating = {rel for rel in beside if is_annotation_sidecar(rel)}
            read_at = (
                self._indexed.without_own_metadata(
                    self._root.id, [one for rel, images in beside.items() if rel not in annotating for one in images]
                ),
                self._indexed.first_read_times(self._root.id, [one for rel in annotating for one in beside[rel]]),
            )
            self._sidecars_seen.update(some)
            for text, mtime_ns in some:
                times = read_at[text in annotating]
                self.outdated_images += [rel for rel in beside[text] if mtime_ns / 1e9 > times.get(rel, float("inf"))]
            yield

    def _process_batch(
        self,
        found: ChangedFiles,
        find_by_stamp: Callable[[FileStamp], bytes | None],
        source: NoticeSource,
    ) -> None:
        now, wall = self._clock(), self._wall()
        relocated = [(one.rel, one.stamp) for one in found if one.is_relocated]
        if relocated:
            self._indexed.update_stamps(self._root.id, relocated)
        for rel, stamp, new, is_settled in found:
            with guard_file(self._root.path, rel):
                if is_settled or self._delivery.is_in_flight(rel, stamp):
                    continue
                if new and self._delivery.record_if_moved(rel, stamp, find_by_stamp):
                    continue
                age = wall - stamp.mtime_ns / 1e9
                self._settler.notice(rel, now, finished=age > _SURELY_SETTLED_SECONDS, source=source)

    def _mark_unseen_missing(self, comparison: TreeComparison) -> Iterator[None]:
        unseen = comparison.iter_unseen()
        while batch := list(itertools.islice(unseen, _GONE_BATCH)):
            comparison.report.gone += self._delivery.mark_missing(batch, self._identity.is_indexed_root)
            yield
