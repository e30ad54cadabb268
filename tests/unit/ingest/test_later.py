"""What could not be read: when it is tried again."""

from __future__ import annotations

import pytest

from indexd.fs.file_stamp import FileStamp, SettledFile
from indexd.ingest import RetryQueue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _file(rel: bytes, purpose: str = "images") -> SettledFile:
    return SettledFile(1, b"/folder", rel, FileStamp(1, 1, 1), purpose)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def later(clock: Clock) -> RetryQueue:
    return RetryQueue(10.0, 60.0, 3, clock)


def test_each_file_has_its_own_pause_which_grows(later: RetryQueue, clock: Clock) -> None:
    assert later.seconds_until_due() is None
    pauses = []
    for _ in range(5):
        later.schedule(_file(b"never"))
        pauses.append(later.seconds_until_due())
        clock.now += pauses[-1] or 0.0
        assert later.take_due() == _file(b"never")
    assert pauses == [10.0, 20.0, 40.0, 60.0, 60.0]
    later.schedule(_file(b"never"))
    later.schedule(_file(b"new"))
    assert later.seconds_until_due() == 10.0
    clock.now += 10.0
    assert (later.take_due(), later.take_due()) == (_file(b"new"), None)
    later.reset_backoff(_file(b"never"))


def test_what_worked_begins_anew(later: RetryQueue, clock: Clock) -> None:
    for _ in range(3):
        later.schedule(_file(b"a"))
        clock.now += 60.0
        assert later.take_due() is not None
        later.reset_backoff(_file(b"a"))
    later.schedule(_file(b"a"))
    assert later.seconds_until_due() == 10.0


def test_a_newer_state_of_a_file_takes_the_place_of_the_older(later: RetryQueue, clock: Clock) -> None:
    newer = _file(b"a")._replace(stamp=FileStamp(2, 2, 1))
    later.schedule(_file(b"a"))
    later.schedule(newer)
    clock.now += 60.0
    assert (later.take_due(), later.take_due()) == (newer, None)


def test_pictures_beyond_the_limit_are_left_to_the_next_comparison_and_jobs_never(later: RetryQueue) -> None:
    assert [later.schedule(_file(b"%d" % n)) for n in range(5)] == [True, True, True, False, False]
    assert [later.schedule(_file(b"job%d" % n, "jobs")) for n in range(5)] == [True] * 5
    assert later.schedule(_file(b"1")) is True
