"""What is known of a tree, folder by folder and packed: a scan holds it while it walks.

An object for every name, size, time and inode takes 300 bytes a file and more. Those of 100 000 files died one by one while the
walk made others that stay, so that of 38 MB 28 never went back to the system. Packed it is the name and 25 bytes a file.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence

# Size, modification time in ns and inode: a FileStamp, or a plain tuple that equals one.
StampTuple = tuple[int, int, int]
# The path, and its stamp.
IndexedFileRow = tuple[bytes, int, int, int]

# The one byte besides `/` that no name holds, whatever the system.
_NAME_SEPARATOR = b"\0"
_FILES_PER_CHUNK = 4000

_PackedChunk = tuple[bytes, "array[int]", "array[int]", "array[int]"]


class IndexSnapshot:
    """Known files by folder. Who enters a folder takes out what he sees there; what is left in the end was not seen.

    Rows may come in any order; that of their paths packs best.
    """

    def __init__(self, rows: Iterable[IndexedFileRow] = ()) -> None:
        self._packed: dict[bytes, list[_PackedChunk]] = {}
        self._current_prefix = b""
        self._current_files: dict[bytes, StampTuple] = {}
        # By inode: the folder, and the piece of it in which the file stands.
        self._chunk_by_inode: dict[int, tuple[bytes, _PackedChunk]] | None = None
        self.count = 0
        for prefix, group in itertools.groupby(rows, _folder_prefix):
            while piece := list(itertools.islice(group, _FILES_PER_CHUNK)):
                self.count += len(piece)
                rels, *stamps = zip(*piece, strict=True)
                self._add(prefix, [rel[len(prefix) :] for rel in rels], stamps)

    def enter_folder(self, prefix: bytes) -> dict[bytes, StampTuple]:
        """The files right in a folder by their bare names, for the caller to thin out until the next is entered.

        `prefix`: its path with `/` at the end, or nothing for the top.
        """
        if self._current_files:
            self._add(
                self._current_prefix, list(self._current_files), list(zip(*self._current_files.values(), strict=True))
            )
        self._current_prefix = prefix
        self._current_files = dict(_unpack_all(self._packed.pop(prefix, ())))
        return self._current_files

    def remaining(self) -> Iterator[tuple[bytes, StampTuple]]:
        """Every file that was not taken out, with its path; nobody may enter a folder meanwhile."""
        for name, stamp in self._current_files.items():
            yield self._current_prefix + name, stamp
        for prefix, pieces in self._packed.items():
            for name, stamp in _unpack_all(pieces):
                yield prefix + name, stamp

    def find_by_stamp(self, stamp: StampTuple) -> bytes | None:
        """The path of a file with this stamp, inode included, that was not taken out when such a one was asked for first.

        Whether it is still there is for the caller to see.
        """
        if self._chunk_by_inode is None:
            self._chunk_by_inode = {}
            here = (
                _pack(list(self._current_files), list(zip(*self._current_files.values(), strict=True)))
                if self._current_files
                else ()
            )
            for prefix, pieces in ((self._current_prefix, here), *self._packed.items()):
                for piece in pieces:
                    self._chunk_by_inode.update(zip(piece[-1], itertools.repeat((prefix, piece))))
        found = self._chunk_by_inode.get(stamp[2])
        if found is None:
            return None
        # Files of two folders may come in turns, so what one of them costs must not grow with its folder.
        prefix, (names, sizes, times, inodes) = found
        at = inodes.index(stamp[2])
        return prefix + names.split(_NAME_SEPARATOR)[at] if (sizes[at], times[at]) == stamp[:2] else None

    def _add(self, prefix: bytes, names: list[bytes], stamps: Sequence[Sequence[int]]) -> None:
        self._packed.setdefault(prefix, []).extend(_pack(names, stamps))


def _pack(names: list[bytes], stamps: Sequence[Sequence[int]]) -> Iterator[_PackedChunk]:
    sizes, times, inodes = stamps
    for start in range(0, len(names), _FILES_PER_CHUNK):
        some = slice(start, start + _FILES_PER_CHUNK)
        yield (
            _NAME_SEPARATOR.join(names[some]),
            array("q", sizes[some]),
            array("q", times[some]),
            array("Q", inodes[some]),
        )


def _folder_prefix(row: IndexedFileRow) -> bytes:
    rel = row[0]
    return rel[: rel.rfind(b"/") + 1]


def _unpack_all(pieces: Iterable[_PackedChunk]) -> Iterator[tuple[bytes, StampTuple]]:
    return itertools.chain.from_iterable(map(_unpack, pieces))


def _unpack(piece: _PackedChunk) -> Iterator[tuple[bytes, StampTuple]]:
    names, sizes, times, inodes = piece
    return zip(names.split(_NAME_SEPARATOR), zip(sizes, times, inodes, strict=True), strict=True)
