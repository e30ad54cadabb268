"""The scans of one root: full comparisons, new folders, the cheap sweep; one after the other, a slice at a time."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field

from indexd.watch.beside import pictures_of
from indexd.watch.delivery import Delivery
from indexd.watch.known import KnownFiles
from indexd.watch.known_tree import KnownTree
from indexd.watch.reconcile import TEXTS_MAX, Comparison, Found, changed_folders
from indexd.watch.roots import WatchedRoot
from indexd.watch.settle import Settler, Source
from indexd.watch.stamp import FileStamp
from indexd.watch.standing import Standing

# A file whose last change lies this far back needs no more watching before it counts as finished.
_OLD_SECONDS = 2.0
_GONE_AT_ONCE = 500
_TEXTS_AT_ONCE = 50


@dataclass(slots=True)
class _Full:
    source: Source
    tickets: list[threading.Event] = field(default_factory=list)


class Scans:
    """What is still to be scanned, and the scan under way. Findings go to the settler, moves and losses to the delivery.

    `inodes`: they last on this file system. `exchanged`: another folder came while one was compared; it is for the caller to
    look which, and to set it back. `late`: pictures beside which something was written after they were read, to be read again
    by the caller. `clock` never goes back, `wall` is seconds since the epoch. Used by one thread.
    """

    def __init__(
        self,
        root: WatchedRoot,
        known: KnownFiles,
        standing: Standing,
        settler: Settler,
        delivery: Delivery,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._root = root
        self._known = known
        self._standing = standing
        self._settler = settler
        self._delivery = delivery
        self._clock = clock
        self._wall = wall
        self._full: _Full | None = None
        self._comparing: _Full | None = None
        self._folders: deque[bytes] = deque()
        self._sweep_wanted = False
        self._step: Iterator[None] | None = None
        self._folder_times: dict[bytes, int] = {}
        self.inodes = True
        self.exchanged = False
        self._texts_seen: dict[bytes, int] = {}
        self.late: list[bytes] = []
        self.finished_tickets: list[threading.Event] = []
        self.last_full_at: float | None = None
        self.full_seconds = 0.0
        self.sweep_seconds = 0.0

    @property
    def busy(self) -> bool:
        """Whether there is something to do."""
        return self._step is not None or self._full is not None or bool(self._folders) or self._sweep_wanted

    def want_full(self, source: Source, tickets: Iterable[threading.Event] = ()) -> None:
        """Compare the whole root, after the scan that is under way, whose eyes may be past what this one must see."""
        if self._full is None:
            self._full = _Full(source)
        self._full.tickets.extend(tickets)

    def start_anew(self, source: Source) -> None:
        """Another folder lies there: what was seen of the one before says nothing of it. Who waits for a scan waits on."""
        tickets: list[threading.Event] = []
        if self._comparing is not None:
            tickets, self._comparing.tickets = self._comparing.tickets, []
        self._step, self._sweep_wanted = None, False
        self._folders.clear()
        self._folder_times.clear()
        self.want_full(source, tickets)

    def want_folder(self, rel: bytes) -> None:
        """Scan a folder that appeared, with all below it."""
        if not any(rel == other or rel.startswith(other + b"/") for other in itertools.islice(self._folders, 64)):
            self._folders.append(rel)

    def want_sweep(self) -> None:
        """Look at the folders' own times, and into those that changed."""
        self._sweep_wanted = True

    def drop(self) -> None:
        """Forget everything: the root is not there. Who waits for a scan waits no longer."""
        if self._full is not None:
            self.finished_tickets.extend(self._full.tickets)
        self._full, self._step, self._sweep_wanted = None, None, False
        self._folders.clear()
        self._folder_times.clear()

    def step(self) -> None:
        """Do one slice: some milliseconds."""
        if self._step is None:
            self._step = self._next()
        if self._step is not None and next(self._step, self) is self:
            self._step = None

    def _next(self) -> Iterator[None] | None:
        # New folders first: they are small and somebody waits for what is in them.
        if self._folders:
            return self._folder(self._folders.popleft())
        if self._full is not None:
            full, self._full = self._full, None
            return self._compare_all(full)
        if self._sweep_wanted:
            self._sweep_wanted = False
            return self._sweep()
        return None

    def _compare_all(self, full: _Full) -> Iterator[None]:
        self._comparing = full
        try:
            started = self._clock()
            self._delivery.forget_old()
            known = self._known_under(b"")
            self._standing.expect(known.count)
            yield
            comparison = Comparison(self._root.path, known, self._root.selection, inodes=self.inodes)
            if not (yield from self._look(comparison, known, full.source)):
                return
            self._folder_times = comparison.folder_times
            if not self._standing.judge(known.count, comparison.report.present):
                self._exchange(full.source)
                return
            yield from self._mark_gone(comparison)
            self.last_full_at = self._wall()
            self.full_seconds = self._clock() - started
        finally:
            self._comparing = None
            self.finished_tickets.extend(full.tickets)

    def _folder(self, rel: bytes) -> Iterator[None]:
        known = self._known_under(rel)
        comparison = Comparison(self._root.path, known, self._root.selection, under=rel, inodes=self.inodes)
        if not (yield from self._look(comparison, known, "scan")):
            return
        self._folder_times.update(comparison.folder_times)
        yield from self._mark_gone(comparison)

    def _sweep(self) -> Iterator[None]:
        started = self._clock()
        for changed in changed_folders(self._root.path, self._folder_times):
            for rel in changed:
                known = self._known_under(rel)
                comparison = Comparison(
                    self._root.path,
                    known,
                    self._root.selection,
                    under=rel,
                    inodes=self.inodes,
                    known_folders=self._folder_times,
                )
                if not (yield from self._look(comparison, known, "missed")):
                    return
                self._folder_times.update(comparison.folder_times)
                yield from self._mark_gone(comparison)
            yield
        self.sweep_seconds = self._clock() - started

    def _known_under(self, rel: bytes) -> KnownTree:
        return KnownTree() if self._root.purpose == "jobs" else KnownTree(self._known.rows(self._root.id, rel))

    def _exchange(self, source: Source) -> None:
        self.exchanged = True
        self.start_anew(source)

    def _look(self, comparison: Comparison, known: KnownTree, source: Source) -> Generator[None, None, bool]:
        """Take what is found. False: another folder came meanwhile, nothing more may be said of this one."""
        for found in comparison.slices():
            if not self._standing.is_unchanged():
                self._exchange(source)
                return False
            self._take(found, known.find, source)
            yield
        if self._root.purpose == "images":
            yield from self._take_texts(comparison)
        return True

    def _take_texts(self, comparison: Comparison) -> Iterator[None]:
        """Texts that were written after the pictures beside them were read, unseen: each is taken once."""
        fresh = [(rel, mtime_ns) for rel, mtime_ns in comparison.texts if self._texts_seen.get(rel) != mtime_ns]
        if len(self._texts_seen) + len(fresh) > 2 * TEXTS_MAX:
            self._texts_seen.clear()
        for start in range(0, len(fresh), _TEXTS_AT_ONCE):
            some = fresh[start : start + _TEXTS_AT_ONCE]
            beside = {rel: pictures_of(self._root.path, rel) for rel, _ in some}
            read_at = self._known.silent(self._root.id, [rel for rels in beside.values() for rel in rels])
            self._texts_seen.update(some)
            for text, mtime_ns in some:
                self.late += [rel for rel in beside[text] if mtime_ns / 1e9 > read_at.get(rel, float("inf"))]
            yield

    def _take(
        self,
        found: Found,
        elsewhere: Callable[[FileStamp], bytes | None],
        source: Source,
    ) -> None:
        now, wall = self._clock(), self._wall()
        relocated = [(one.rel, one.stamp) for one in found if one.relocated]
        if relocated:
            self._known.touch(self._root.id, relocated)
        for rel, stamp, new, is_settled in found:
            if is_settled or self._delivery.is_on_its_way(rel, stamp):
                continue
            if new and self._delivery.recognise(rel, stamp, elsewhere):
                continue
            age = wall - stamp.mtime_ns / 1e9
            self._settler.notice(rel, now, finished=age > _OLD_SECONDS, source=source)

    def _mark_gone(self, comparison: Comparison) -> Iterator[None]:
        unseen = comparison.unseen()
        while batch := list(itertools.islice(unseen, _GONE_AT_ONCE)):
            comparison.report.gone += self._delivery.mark_gone(batch, self._standing.may_mark)
            yield
