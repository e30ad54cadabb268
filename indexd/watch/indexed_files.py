"""What the watcher needs to know of the indexed files of a root. The daemon passes the store, tests pass a dict."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from indexd.fs.file_stamp import FileStamp
from indexd.watch.scan.index_snapshot import IndexedFileRow


class IndexedFiles(Protocol):
    """The index's memory of files. Every dict that is returned belongs to the caller, who changes it."""

    def present_stamps(self, root_id: int, under: bytes = b"", /) -> dict[bytes, FileStamp]:
        """Present files at or below `under`, those with a problem included."""
        ...

    def iter_present(self, root_id: int, under: bytes = b"", /) -> Iterator[IndexedFileRow]:
        """The same, one by one in the order of their paths; to be taken up at once, the index stays as it is meanwhile."""
        ...

    def missing_stamps(self, root_id: int, /) -> dict[bytes, FileStamp]:
        """Files that were marked missing."""
        ...

    def mark_missing(self, root_id: int, rels: Sequence[bytes], now: float, /) -> int:
        """Mark files missing since `now` (seconds since the epoch); how many were present."""
        ...

    def update_stamps(self, root_id: int, files: Sequence[tuple[bytes, FileStamp]], /) -> None:
        """The same contents have new stamps, or are back."""
        ...

    def without_own_metadata(self, root_id: int, rels: Sequence[bytes], /) -> dict[bytes, float]:
        """Those of these files that say nothing of how they were made, with the time at which they were read first."""
        ...

    def first_read_times(self, root_id: int, rels: Sequence[bytes], /) -> dict[bytes, float]:
        """The present ones of these files that are images, with the time at which they were read first."""
        ...

    def record_move(self, root_id: int, old_rel: bytes, new_rel: bytes, stamp: FileStamp, /) -> bool:
        """The file is now called `new_rel`, present. False: the old path is not known, so the file must be read."""
        ...


class InMemoryIndexedFiles:
    """An `IndexedFiles` of plain dicts, for tests and benchmarks. `record` does what the file handler does."""

    def __init__(self, present: dict[int, dict[bytes, FileStamp]] | None = None) -> None:
        self.present: dict[int, dict[bytes, FileStamp]] = present if present is not None else {}
        self.absent: dict[int, dict[bytes, FileStamp]] = {}
        self.moves: list[tuple[bytes, bytes]] = []
        self.read_at: dict[bytes, float] = {}
        self.with_metadata: set[bytes] = set()
        self._lock = threading.RLock()

    def record(self, root_id: int, rel: bytes, stamp: FileStamp) -> None:
        """The file was read and stored."""
        with self._lock:
            self.present.setdefault(root_id, {})[rel] = stamp
            self.absent.get(root_id, {}).pop(rel, None)

    def present_stamps(self, root_id: int, under: bytes = b"") -> dict[bytes, FileStamp]:
        """Present files at or below `under`."""
        inside = under + b"/"
        with self._lock:
            present = self.present.get(root_id, {})
            if not under:
                return dict(present)
            return {rel: stamp for rel, stamp in present.items() if rel == under or rel.startswith(inside)}

    def iter_present(self, root_id: int, under: bytes = b"") -> Iterator[IndexedFileRow]:
        """The same, in the order of their paths."""
        for rel, stamp in sorted(self.present_stamps(root_id, under).items()):
            yield rel, *stamp

    def missing_stamps(self, root_id: int) -> dict[bytes, FileStamp]:
        """Files that were marked missing."""
        with self._lock:
            return dict(self.absent.get(root_id, {}))

    def mark_missing(self, root_id: int, rels: Sequence[bytes], now: float) -> int:  # noqa: ARG002 - the protocol's shape
        """Mark files missing; how many were present."""
        with self._lock:
            present = self.present.get(root_id, {})
            gone = {rel: present.pop(rel) for rel in rels if rel in present}
            self.absent.setdefault(root_id, {}).update(gone)
            return len(gone)

    def without_own_metadata(self, root_id: int, rels: Sequence[bytes]) -> dict[bytes, float]:
        """Those of these files that are present, that `read_at` names, and that `with_metadata` does not."""
        known = self.first_read_times(root_id, rels)
        return {rel: at for rel, at in known.items() if rel not in self.with_metadata}

    def first_read_times(self, root_id: int, rels: Sequence[bytes]) -> dict[bytes, float]:
        """Those of these files that are present and that `read_at` names."""
        with self._lock:
            present = self.present.get(root_id, {})
            return {rel: self.read_at[rel] for rel in rels if rel in present and rel in self.read_at}

    def update_stamps(self, root_id: int, files: Sequence[tuple[bytes, FileStamp]]) -> None:
        """Present again, or with a new stamp."""
        for rel, stamp in files:
            self.record(root_id, rel, stamp)

    def record_move(self, root_id: int, old_rel: bytes, new_rel: bytes, stamp: FileStamp) -> bool:
        """The file has a new name."""
        with self._lock:
            found = [
                files.pop(old_rel, None) for files in (self.present.get(root_id, {}), self.absent.get(root_id, {}))
            ]
            if found == [None, None]:
                return False
            self.moves.append((old_rel, new_rel))
            self.record(root_id, new_rel, stamp)
            return True
