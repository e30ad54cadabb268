"""The parts of a question run beside one another, and a part that fails leaves none behind for which nobody waits."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from indexd.vector_index.parallel import QUERY_THREADS, run_parallel


def test_answers_come_in_order_from_parts_that_run_at_the_same_time() -> None:
    all_here = threading.Barrier(QUERY_THREADS + 1, timeout=10)

    def part(number: int) -> int:
        all_here.wait()
        return number

    assert run_parallel([partial(part, number) for number in range(QUERY_THREADS + 1)]) == list(
        range(QUERY_THREADS + 1)
    )
    assert run_parallel([]) == []


def test_after_a_failure_no_further_part_begins() -> None:
    begun, over = threading.Semaphore(0), threading.Event()

    def fails() -> None:
        raise OSError("the first")

    def waits() -> None:
        begun.release()
        over.wait(10)

    with pytest.raises(OSError, match="the first"):
        run_parallel([fails, *[waits] * (3 * QUERY_THREADS)])
    over.set()
    # They begin in the order in which they were given, so those of before have by the time these have answered.
    assert run_parallel([partial(int, 1)] * (4 * QUERY_THREADS)) == [1] * (4 * QUERY_THREADS)
    count = 0
    while begun.acquire(blocking=False):
        count += 1
    assert count <= QUERY_THREADS


def test_the_failure_that_is_told_is_that_of_the_first_part_in_order() -> None:
    def answers(fails: str | None) -> None:
        if fails:
            raise OSError(fails)

    with pytest.raises(OSError, match="second"):
        run_parallel([partial(answers, None), partial(answers, "second"), partial(answers, "third")])
