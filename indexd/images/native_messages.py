"""Keeps what native decoders (libtiff, OpenCV) write to stderr with the file that they decode.

Such a line names no file, and reaches the log of the daemon as it is.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator

BYTES_MAX = 4096
LINES_MAX = 3
LINE_CHARACTERS_MAX = 200
_OPENCV_PREFIX = re.compile(r"^\[ *\w+:\d+@[\d.]+\] (?:global )?")
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]+")


@contextlib.contextmanager
def native_messages() -> Iterator[list[str]]:
    """The list that this yields contains, after the block, the first lines that were written to file descriptor 2.

    Worker processes only: there one thread decodes, and no progress bar of a command uses stderr. Windows has no pipe that
    drops what is too much, so the lines stay in the log there.
    """
    lines: list[str] = []
    if sys.platform == "win32" or multiprocessing.parent_process() is None:
        yield lines
        return
    with contextlib.ExitStack() as opened:
        try:
            stderr = _opened(opened, os.dup(2))
            reading, writing = (_opened(opened, one) for one in os.pipe())
        except OSError:  # no stderr, or no free descriptor
            yield lines
            return
        # A full pipe drops the rest: no decoder may wait for a reader, nor fill the memory.
        os.set_blocking(writing, False)
        os.set_blocking(reading, False)
        os.dup2(writing, 2)
        try:
            yield lines
        finally:
            os.dup2(stderr, 2)
            with contextlib.suppress(BlockingIOError):
                lines += _first_lines(os.read(reading, BYTES_MAX))


def _opened(stack: contextlib.ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor


def _first_lines(written: bytes) -> list[str]:
    cleaned = (
        _UNPRINTABLE.sub(" ", _OPENCV_PREFIX.sub("", line)).strip()
        for line in written.decode("ascii", "replace").splitlines()
    )
    return [line[:LINE_CHARACTERS_MAX] for line in dict.fromkeys(cleaned) if line][:LINES_MAX]
