"""The last step before the handler: each content of a file is delivered once, and a moved file not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from indexd.fs.file_stamp import FileStamp, SettledFile, is_relocated
from indexd.fs.paths import absolute, display
from indexd.watch.root_context import RootContext
from indexd.watch.roots import WatchedRoot
from indexd.watch.scan.reconcile import is_gone

log = logging.getLogger(__name__)

# A delivered file is remembered until the index has it, so that a scan does not deliver it again.
_REMEMBERED_FILES_MAX = 50_000
_REMEMBERED_SECONDS = 600.0
_REMEMBERED_JOB_SECONDS = 30.0
_EXPIRE_INTERVAL_SECONDS = 60.0
_MARK_BATCH = 500
# Above this, listing all indexed files is quicker than one lookup per path.
_SINGLE_LOOKUPS_MAX = 200


class Delivery:
    """Delivers the settled files of one root, and records in the index what moved, came back or is gone.

    Used by one thread.
    """

    def __init__(self, root: WatchedRoot, context: RootContext) -> None:
        self._root = root
        self._indexed = context.indexed_files
        self._deliver = context.deliver
        self._wall = context.wall
        self._delivered: dict[bytes, tuple[FileStamp, float]] = {}
        self._expired_at = self._wall()
        self._missing: dict[bytes, FileStamp] | None = None
        self._missing_by_stamp: dict[FileStamp, bytes] = {}

    def is_in_flight(self, rel: bytes, stamp: FileStamp) -> bool:
        """Whether this content was delivered lately; the index may not have it yet."""
        sent = self._delivered.get(rel)
        return sent is not None and sent[0] == stamp

    def is_indexed(self, rel: bytes, stamp: FileStamp) -> bool:
        """Whether the index has the file with this very stamp."""
        return self._root.purpose != "jobs" and self._indexed.present_stamps(self._root.id, rel).get(rel) == stamp

    def expire_deliveries(self) -> None:
        """Forget deliveries of long ago: if the index still lacks the file, its handler failed, and it is delivered again."""
        if self._root.purpose == "jobs":
            # A job file leaves the inbox when it is admitted. It may be put back unchanged, when what it needs is there now.
            limit = self._wall() - _REMEMBERED_JOB_SECONDS
            self._delivered = {
                rel: sent
                for rel, sent in self._delivered.items()
                if sent[1] > limit and not is_gone(absolute(self._root.path, rel))
            }
            return
        self._expire_by_age(self._wall())
        # A command may have relocated or forgotten missing files since.
        self._missing = None

    def _expire_by_age(self, now: float) -> None:
        self._delivered = {rel: sent for rel, sent in self._delivered.items() if sent[1] > now - _REMEMBERED_SECONDS}
        self._expired_at = now

    def forget_deliveries(self) -> None:
        """Forget all deliveries: the folder was away, so the handler may not have found the files."""
        self._delivered.clear()

    def record_if_moved(
        self, rel: bytes, stamp: FileStamp, find_by_stamp: Callable[[FileStamp], bytes | None] | None = None
    ) -> bool:
        """Record in the index that a missing file is back or that a file has a new name; returns whether it is either.

        `find_by_stamp` finds a present file of that stamp; if it is gone from its path, it has moved here.
        """
        if self._root.purpose == "jobs":
            return False
        missing = self._missing_files()
        was = missing.get(rel)
        if was is not None and (was == stamp or is_relocated(was, stamp)):
            self._indexed.update_stamps(self._root.id, [(rel, stamp)])
            self._forget_missing(rel, stamp)
            return True
        if not stamp.inode or not stamp.size:
            return False
        old = self._missing_by_stamp.get(stamp)
        if old is None and find_by_stamp is not None:
            old = find_by_stamp(stamp)
        if old is None or old == rel or not is_gone(absolute(self._root.path, old)):
            return False
        if not self._indexed.record_move(self._root.id, old, rel, stamp):
            return False
        self._forget_missing(old, stamp)
        log.debug("%s is %s under a new name", display(rel), display(old))
        return True

    def deliver(self, rel: bytes, stamp: FileStamp) -> bool:
        """Pass the file to its handler, which may block. False if the handler failed; the next scan tries again."""
        root = self._root
        self._delivered.pop(rel, None)
        try:
            self._deliver(SettledFile(root.id, root.path, rel, stamp, root.purpose))
        except Exception:
            log.exception("the handler failed on %s", display(absolute(root.path, rel)))
            return False
        now = self._wall()
        self._delivered[rel] = (stamp, now)
        if len(self._delivered) > _REMEMBERED_FILES_MAX:
            for old in list(self._delivered)[: _REMEMBERED_FILES_MAX // 2]:
                del self._delivered[old]
        # Scans may lie far apart, and each delivery holds about 500 bytes. The wall clock may jump back.
        if abs(now - self._expired_at) > _EXPIRE_INTERVAL_SECONDS:
            self._expire_by_age(now)
        return True

    def indexed_at_or_below(self, rels: Sequence[bytes]) -> Iterator[bytes]:
        """The paths themselves, and every indexed file below those of them that were folders."""
        yield from rels
        if self._root.purpose == "jobs":
            return
        if len(rels) <= _SINGLE_LOOKUPS_MAX:
            for rel in rels:
                yield from self._indexed.present_stamps(self._root.id, rel)
            return
        gone = frozenset(rels)
        yield from [rel for rel, *_ in self._indexed.iter_present(self._root.id) if _is_below_any(rel, gone)]

    def mark_missing(self, rels: Iterable[bytes], is_indexed_root: Callable[[], bool]) -> int:
        """Mark files missing that are surely gone, after `is_indexed_root` has confirmed each batch; returns how many."""
        marked = 0
        batch: list[bytes] = []
        for rel in rels:
            if is_gone(absolute(self._root.path, rel)):
                batch.append(rel)
            if len(batch) >= _MARK_BATCH:
                marked += self._mark_batch_missing(batch, is_indexed_root)
                batch = []
        return marked + self._mark_batch_missing(batch, is_indexed_root)

    def _mark_batch_missing(self, rels: list[bytes], is_indexed_root: Callable[[], bool]) -> int:
        if not rels:
            return 0
        for rel in rels:
            self._delivered.pop(rel, None)
        if self._root.purpose == "jobs" or not is_indexed_root():
            return 0
        marked = self._indexed.mark_missing(self._root.id, rels, self._wall())
        if marked:
            self._missing = None
        return marked

    def _missing_files(self) -> dict[bytes, FileStamp]:
        if self._missing is None:
            self._missing = self._indexed.missing_stamps(self._root.id)
            self._missing_by_stamp = {stamp: rel for rel, stamp in self._missing.items()}
        return self._missing

    def _forget_missing(self, rel: bytes, stamp: FileStamp) -> None:
        self._missing_files().pop(rel, None)
        if self._missing_by_stamp.get(stamp) == rel:
            del self._missing_by_stamp[stamp]


def _is_below_any(rel: bytes, folders: frozenset[bytes]) -> bool:
    parts = rel.split(b"/")
    return any(b"/".join(parts[:depth]) in folders for depth in range(1, len(parts)))
