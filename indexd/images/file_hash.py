"""The content hash of a file."""

from __future__ import annotations

from pathlib import Path

from blake3 import blake3

from indexd.fs.safe_open import open_regular


def hash_file_hex(path: bytes | str | Path) -> str:
    """blake3 of a regular file's bytes in hex. Raises NotRegularFile, OSError."""
    hasher = blake3()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()
