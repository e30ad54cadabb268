"""Arrays whose memory the system provides as they fill, in small pages first and in huge pages later.

numpy requests huge pages (2 MB on most machines) for every array of 4 MB or more. Three nearly empty arrays a layer took
30 MB, which a library of a few thousand images does not need.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class MmapArray:
    """An array of zeros. A page takes memory once something is written to it. Raises MemoryError."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, *, huge_pages: bool) -> None:
        try:
            self._memory = _anonymous_mmap(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        except OSError as error:
            raise MemoryError(f"no memory for {shape} of {np.dtype(dtype)}: {error}") from None
        # The array keeps a reference to its memory.
        self.array: NDArray[Any] = np.frombuffer(self._memory, dtype).reshape(shape)
        self._advise("MADV_HUGEPAGE" if huge_pages else "MADV_NOHUGEPAGE")

    def use_huge_pages(self) -> None:
        """Pages touched from now on may be huge pages, which are faster to scan."""
        self._advise("MADV_HUGEPAGE")

    def _advise(self, advice: str) -> None:
        # Only Linux has it, and a kernel may be built without it.
        if sys.platform != "win32" and hasattr(mmap, advice):
            with contextlib.suppress(OSError):
                self._memory.madvise(getattr(mmap, advice))


def _anonymous_mmap(size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
