"""Memory for rows that come over years: taken from the system as they fill, in small pages at first, in large ones later.

numpy asks for large pages (2 MB on most machines) for every array from 4 MB on. Three arrays a layer, hardly filled, were 30 MB
that a library of a few thousand pictures had no use for: each got its pages whole, at once or when the kernel came round to it.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class MmapArray:
    """An array of `shape`, zeros, whose memory is the system's until something is written there. Raises MemoryError."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, *, huge_pages: bool) -> None:
        try:
            self._memory = _anonymous_mmap(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        except OSError as error:
            raise MemoryError(f"no memory for {shape} of {np.dtype(dtype)}: {error}") from None
        # The array holds on to its memory.
        self.array: NDArray[Any] = np.frombuffer(self._memory, dtype).reshape(shape)
        self._advise("MADV_HUGEPAGE" if huge_pages else "MADV_NOHUGEPAGE")

    def use_huge_pages(self) -> None:
        """What is touched from now on may come in large pages, which are faster to scan."""
        self._advise("MADV_HUGEPAGE")

    def _advise(self, advice: str) -> None:
        # Only Linux has it, and a kernel may be built without: then its pages are as they are.
        if hasattr(mmap, advice):
            with contextlib.suppress(OSError):
                self._memory.madvise(getattr(mmap, advice))


def _anonymous_mmap(size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
