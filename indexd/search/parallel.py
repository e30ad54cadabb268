"""The parts of one question, answered beside one another: they wait for the disk and compare vectors, and both leave Python free."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")

THREADS = 4


def parallel(parts: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """The answers to these parts of a question, in their order. Raises what the first of them raises that fails."""
    return spread(_threads(), parts)


def spread(threads: ThreadPoolExecutor, parts: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """The same on these threads; the first part is done by the one that asks."""
    others = [threads.submit(part) for part in parts[1:]]
    try:
        return [*(part() for part in parts[:1]), *(other.result() for other in others)]
    finally:
        # Nobody waits any more for those that have not begun when one has failed.
        for other in others:
            other.cancel()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Only for whole parts: one that waited here for a thread of its own might wait for ever."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="question")
