"""Random access to the bytes of one image. A read returns at most the requested bytes and never passes the end."""

from __future__ import annotations

import io
from typing import BinaryIO

from blake3 import blake3

from indexd.image_metadata.errors import UnreadableImage

IN_MEMORY_BYTES_MAX = 32 << 20
"""Files up to this size are read once and kept; larger ones are hashed in blocks and read again where needed."""

READ_BYTES_MAX = 64 << 20
"""The most that one `at` returns, whatever a length field in the file claims."""

_BLOCK_BYTES = 4 << 20


class ByteSource:
    """The bytes of one file, by offset. `size` is the number of bytes that are really there."""

    __slots__ = ("_data", "_file", "size")

    def __init__(self, file: BinaryIO, size: int, data: bytes | None = None) -> None:
        self._file = file
        self._data = data
        self.size = size

    @classmethod
    def from_bytes(cls, data: bytes) -> ByteSource:
        """A source over bytes that are already in memory."""
        return cls(io.BytesIO(), len(data), data)

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer (or none) where the file ends, at most READ_BYTES_MAX."""
        if offset < 0 or count <= 0 or offset >= self.size:
            return b""
        count = min(count, READ_BYTES_MAX)
        if self._data is not None:
            return self._data[offset : offset + count]
        self._file.seek(offset)
        return self._file.read(count)


def hash_and_open(file: BinaryIO, size: int) -> tuple[bytes, ByteSource]:
    """The blake3 of a whole file (32 bytes) and a source over it. The file is read once from where it stands.

    Raises UnreadableImage when the file has another length than `size`: somebody is writing to it.
    """
    if size <= IN_MEMORY_BYTES_MAX:
        data = file.read(size + 1)
        _check_size(len(data), size)
        return blake3(data).digest(), ByteSource(file, size, data)
    hasher, count = blake3(), 0
    while block := file.read(_BLOCK_BYTES):
        hasher.update(block)
        count += len(block)
    _check_size(count, size)
    return hasher.digest(), ByteSource(file, size)


def _check_size(found: int, expected: int) -> None:
    if found != expected:
        raise UnreadableImage(f"the file changed while it was read ({expected} bytes expected, {found} or more found)")
