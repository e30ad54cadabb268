"""A plain file of face vectors in half precision, from the daemon to the worker: too large for their pipe.

The daemon writes a temporary file in the folder of the index and sends its path. The worker maps the file and converts it
block by block to single precision (100 000 x 1024: 205 MB in the file, 410 MB as float32).
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
    """Write blocks of rows (n, dim) in order as float16; returns the number of rows."""
    count = 0
    with path.open("wb") as file:
        for block in blocks:
            file.write(np.ascontiguousarray(block, np.float16).tobytes())
            count += len(block)
    return count


def open_vector_file(path: str | Path, dim: int) -> Halves:
    """The rows (n, dim) of the file, memory-mapped read-only. Raises ValueError for an incomplete row."""
    if Path(path).stat().st_size == 0:
        return np.zeros((0, dim), np.float16)
    rows = np.memmap(path, np.float16, mode="r")
    if len(rows) % dim:
        raise ValueError(f"{path}: its size is not a multiple of {dim} values")
    return rows.reshape(-1, dim)


def iter_blocks(rows: NDArray[np.floating], size: int = BLOCK_ROWS) -> Iterator[tuple[slice, Floats]]:
    """The rows block by block: the slice of each block, and its rows as float32 unit vectors."""
    for start in range(0, len(rows), size):
        block = slice(start, min(start + size, len(rows)))
        yield block, normalize_rows(rows[block].astype(np.float32))


def normalize_rows(rows: Floats) -> Floats:
    """The rows as unit vectors; a row of zeros stays unchanged."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)
