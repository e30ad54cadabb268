"""The parts of one question, answered beside one another: they wait for the disk and compare vectors, and both leave Python free."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Output = TypeVar("Output")

QUERY_THREADS = 4


def run_parallel(tasks: Sequence[Callable[[], Output]]) -> list[Output]:
    """The answers to these parts of a question, in their order. Raises what the first of them raises that fails."""
    return run_on_pool(_query_pool(), tasks)


def run_on_pool(pool: ThreadPoolExecutor, tasks: Sequence[Callable[[], Output]]) -> list[Output]:
    """The same on these threads; the first part is done by the one that asks."""
    others = [pool.submit(part) for part in tasks[1:]]
    try:
        return [*(part() for part in tasks[:1]), *(other.result() for other in others)]
    finally:
        # Nobody waits any more for those that have not begun when one has failed.
        for other in others:
            other.cancel()


@functools.cache
def _query_pool() -> ThreadPoolExecutor:
    """Only for whole parts: one that waited here for a thread of its own might wait for ever."""
    return ThreadPoolExecutor(QUERY_THREADS, thread_name_prefix="question")
