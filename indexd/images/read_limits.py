"""What reading one file may use in a reader process: processor time and address space.

The budgets of indexd.image_metadata bound every loop that is known; these two bound the ones that are not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import TypeVar

MEMORY_BYTES = 1 << 30
"""Address space beyond what the process has when it starts. A file of 32 MiB with 32 MiB of texts needs 300 MiB."""
CPU_SECONDS = 10.0
CPU_BYTES_PER_SECOND = 100 << 20
"""Reading and hashing a large file takes processor time as well; a slow machine does 300 MiB a second."""
CEILING_WORDS = "reading it takes more than"
"""How the reason of every file begins that reached a limit."""

T = TypeVar("T")


class ReadLimitReached(Exception):
    """The text says which limit, as a sentence about the file."""


class CpuLimitReached(BaseException):
    """Reading took more processor time than is allowed. No Exception, so that no reader takes it for a fault of its own."""


def limit_memory(extra_bytes: int = MEMORY_BYTES) -> None:
    """Let this process allocate at most `extra_bytes` more than now; beyond that Python raises MemoryError. Linux only."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = size + extra_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


@contextlib.contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise CpuLimitReached in this block after so many seconds of processor time. Main thread only; Windows has none."""
    if sys.platform == "win32":
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise CpuLimitReached

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def cpu_seconds_for(byte_count: int) -> float:
    """Processor time that a file of so many bytes may take."""
    return CPU_SECONDS + byte_count / CPU_BYTES_PER_SECOND


def within_limits(byte_count: int, work: Callable[[], T]) -> T:
    """The result of `work`. Raises ReadLimitReached where it takes more memory or processor time than a file may take."""
    seconds = cpu_seconds_for(byte_count)
    # Signals reach the main thread only; a reader process serves there, tests and tools may not.
    is_main = threading.current_thread() is threading.main_thread()
    limit: AbstractContextManager[None] = cpu_limit(seconds) if is_main else nullcontext()
    try:
        with limit:
            return work()
    except CpuLimitReached:
        raise ReadLimitReached(f"{CEILING_WORDS} {seconds:.0f} s of processor time") from None
    except MemoryError:
        raise ReadLimitReached(f"{CEILING_WORDS} {MEMORY_BYTES >> 20} MiB of memory") from None
