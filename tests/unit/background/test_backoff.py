from __future__ import annotations

from indexd.background.backoff import Backoff


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_pauses_grow_by_the_factor_up_to_the_maximum() -> None:
    backoff = Backoff(2.0, 60.0, factor=3.0, clock=Clock())
    assert [backoff.fail() for _ in range(5)] == [2.0, 6.0, 18.0, 54.0, 60.0]


def test_without_a_maximum_every_pause_is_the_first_one() -> None:
    backoff = Backoff(30.0, clock=Clock())
    assert [backoff.fail() for _ in range(3)] == [30.0, 30.0, 30.0]


def test_a_reset_begins_with_the_first_pause_again() -> None:
    backoff = Backoff(1.0, 8.0, clock=Clock())
    backoff.fail()
    backoff.fail()
    backoff.reset()
    assert backoff.is_due
    assert backoff.retry_at is None
    assert backoff.fail() == 1.0


def test_a_try_is_due_once_the_pause_has_passed() -> None:
    clock = Clock()
    backoff = Backoff(10.0, 600.0, clock=clock)
    assert backoff.is_due
    backoff.fail()
    assert (backoff.is_due, backoff.seconds_left(), backoff.retry_at) == (False, 10.0, 1010.0)
    clock.now += 9.5
    assert (backoff.is_due, backoff.seconds_left()) == (False, 0.5)
    clock.now += 0.5
    assert (backoff.is_due, backoff.seconds_left()) == (True, 0.0)


def test_a_clock_that_is_set_back_ends_the_pause() -> None:
    clock = Clock()
    backoff = Backoff(10.0, clock=clock)
    backoff.fail()
    clock.now -= 3600.0
    assert backoff.is_due


def test_the_pause_of_any_number_of_failures_is_finite() -> None:
    backoff = Backoff(10.0, 600.0)
    assert backoff.pause_after(1) == 10.0
    assert backoff.pause_after(7) == 600.0
    assert backoff.pause_after(10**9) == 600.0
    assert Backoff(5.0).pause_after(10**9) == 5.0
