"""Gaps in time."""

from __future__ import annotations

from indexd.watch.suspend_detector import SuspendDetector, suspend_aware_seconds


def test_a_beat_that_comes_much_too_late_is_a_gap() -> None:
    now = [100.0]
    gaps: list[float] = []
    heart = SuspendDetector(gaps.append, lambda: now[0])
    for pause in (2.0, 2.1, 4.0, 30.0, 2.0):
        now[0] += pause
        heart.check()
    assert gaps == [30.0]


def test_the_sleepless_clock_goes_on() -> None:
    assert suspend_aware_seconds() <= suspend_aware_seconds()


def test_stopping_a_heart_that_never_beat_is_harmless() -> None:
    SuspendDetector(lambda gap: None).stop()
