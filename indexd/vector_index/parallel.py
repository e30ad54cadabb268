"""Runs the parts of one query in threads: they read the disk and compare vectors, and both release the GIL."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Output = TypeVar("Output")

QUERY_THREADS = 4


def run_parallel(tasks: Sequence[Callable[[], Output]]) -> list[Output]:
    """The results of the tasks, in their order. Raises the error of the first task, in order, that fails."""
    return run_on_pool(_query_pool(), tasks)


def run_on_pool(pool: ThreadPoolExecutor, tasks: Sequence[Callable[[], Output]]) -> list[Output]:
    """The same on the threads of `pool`; the calling thread runs the first task."""
    others = [pool.submit(task) for task in tasks[1:]]
    try:
        return [*(task() for task in tasks[:1]), *(other.result() for other in others)]
    finally:
        # After a failure nothing waits for the tasks that have not started.
        for other in others:
            other.cancel()


@functools.cache
def _query_pool() -> ThreadPoolExecutor:
    """Only for independent tasks: a task that waited for another one here could deadlock."""
    return ThreadPoolExecutor(QUERY_THREADS, thread_name_prefix="query")
