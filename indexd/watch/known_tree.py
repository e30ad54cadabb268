"""What is known of a tree, folder by folder and packed: a scan holds it while it walks.

An object for every name, size, time and inode takes 300 bytes a file and more. Those of 100 000 files died one by one while the
walk made others that stay, so that of 38 MB 28 never went back to the system. Packed it is the name and 25 bytes a file.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence

# Size, modification time in ns and inode: a FileStamp, or a plain tuple that equals one.
Stamp = tuple[int, int, int]
# The path, and its stamp.
KnownRow = tuple[bytes, int, int, int]

# The one byte besides `/` that no name holds, whatever the system.
_BETWEEN = b"\0"
_FILES_A_PIECE = 4000

_Piece = tuple[bytes, "array[int]", "array[int]", "array[int]"]


class KnownTree:
    """Known files by folder. Who enters a folder takes out what he sees there; what is left in the end was not seen.

    Rows may come in any order; that of their paths packs best.
    """

    def __init__(self, rows: Iterable[KnownRow] = ()) -> None:
        self._packed: dict[bytes, list[_Piece]] = {}
        self._prefix = b""
        self._here: dict[bytes, Stamp] = {}
        # By inode: the folder, and the piece of it in which the file stands.
        self._piece_of: dict[int, tuple[bytes, _Piece]] | None = None
        self.count = 0
        for prefix, group in itertools.groupby(rows, _prefix_of):
            while piece := list(itertools.islice(group, _FILES_A_PIECE)):
                self.count += len(piece)
                rels, *stamps = zip(*piece, strict=True)
                self._add(prefix, [rel[len(prefix) :] for rel in rels], stamps)

    def enter(self, prefix: bytes) -> dict[bytes, Stamp]:
        """The files right in a folder by their bare names, for the caller to thin out until the next is entered.

        `prefix`: its path with `/` at the end, or nothing for the top.
        """
        if self._here:
            self._add(self._prefix, list(self._here), list(zip(*self._here.values(), strict=True)))
        self._prefix = prefix
        self._here = dict(_all(self._packed.pop(prefix, ())))
        return self._here

    def left(self) -> Iterator[tuple[bytes, Stamp]]:
        """Every file that was not taken out, with its path; nobody may enter a folder meanwhile."""
        for name, stamp in self._here.items():
            yield self._prefix + name, stamp
        for prefix, pieces in self._packed.items():
            for name, stamp in _all(pieces):
                yield prefix + name, stamp

    def find(self, stamp: Stamp) -> bytes | None:
        """The path of a file with this stamp, inode included, that was not taken out when such a one was asked for first.

        Whether it is still there is for the caller to see.
        """
        if self._piece_of is None:
            self._piece_of = {}
            here = _pieces(list(self._here), list(zip(*self._here.values(), strict=True))) if self._here else ()
            for prefix, pieces in ((self._prefix, here), *self._packed.items()):
                for piece in pieces:
                    self._piece_of.update(zip(piece[-1], itertools.repeat((prefix, piece))))
        found = self._piece_of.get(stamp[2])
        if found is None:
            return None
        # Files of two folders may come in turns, so what one of them costs must not grow with its folder.
        prefix, (names, sizes, times, inodes) = found
        at = inodes.index(stamp[2])
        return prefix + names.split(_BETWEEN)[at] if (sizes[at], times[at]) == stamp[:2] else None

    def _add(self, prefix: bytes, names: list[bytes], stamps: Sequence[Sequence[int]]) -> None:
        self._packed.setdefault(prefix, []).extend(_pieces(names, stamps))


def _pieces(names: list[bytes], stamps: Sequence[Sequence[int]]) -> Iterator[_Piece]:
    sizes, times, inodes = stamps
    for start in range(0, len(names), _FILES_A_PIECE):
        some = slice(start, start + _FILES_A_PIECE)
        yield _BETWEEN.join(names[some]), array("q", sizes[some]), array("q", times[some]), array("Q", inodes[some])


def _prefix_of(row: KnownRow) -> bytes:
    rel = row[0]
    return rel[: rel.rfind(b"/") + 1]


def _all(pieces: Iterable[_Piece]) -> Iterator[tuple[bytes, Stamp]]:
    return itertools.chain.from_iterable(map(_files, pieces))


def _files(piece: _Piece) -> Iterator[tuple[bytes, Stamp]]:
    names, sizes, times, inodes = piece
    return zip(names.split(_BETWEEN), zip(sizes, times, inodes, strict=True), strict=True)
