"""Face vectors on disk: unit rows in half precision in a plain file, so that a hundred thousand never cross a pipe.

The daemon writes them to a temporary file beside the index and hands over the path; the worker maps it, reads it block by
block and never holds the whole in single precision (100 000 x 1024: 205 MB in the file, 410 MB as float32).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
Ids = NDArray[np.int64]

BLOCK_ROWS = 4096


def write_vector_file(path: Path, blocks: Iterable[NDArray[np.floating]]) -> int:
    """Write blocks of rows (n, dim) one after the other as float16; returns how many rows there are."""
    count = 0
    with path.open("wb") as file:
        for block in blocks:
            file.write(np.ascontiguousarray(block, np.float16).tobytes())
            count += len(block)
    return count


def open_vector_file(path: str | Path, dim: int) -> Halves:
    """The rows of such a file, mapped read-only (n, dim)."""
    if Path(path).stat().st_size == 0:
        return np.zeros((0, dim), np.float16)
    rows = np.memmap(path, np.float16, mode="r")
    if len(rows) % dim:
        raise ValueError(f"{path} holds no whole rows of {dim}")
    return rows.reshape(-1, dim)


def iter_blocks(rows: NDArray[np.floating], size: int = BLOCK_ROWS) -> Iterator[tuple[slice, Floats]]:
    """The rows block by block: where each block lies, and its rows in single precision at length one."""
    for start in range(0, len(rows), size):
        where = slice(start, min(start + size, len(rows)))
        yield where, normalize_rows(rows[where].astype(np.float32))


def normalize_rows(rows: Floats) -> Floats:
    """The rows at length one; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)
