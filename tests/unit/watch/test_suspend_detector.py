"""SuspendDetector: gaps between two checks."""

from __future__ import annotations

from indexd.watch.suspend_detector import SuspendDetector, suspend_aware_seconds


def test_a_check_much_later_than_due_is_a_gap() -> None:
    now = [100.0]
    gaps: list[float] = []
    detector = SuspendDetector(gaps.append, lambda: now[0])
    for pause in (2.0, 2.1, 4.0, 30.0, 2.0):
        now[0] += pause
        detector.run_once()
    assert gaps == [30.0]


def test_the_suspend_aware_clock_is_monotonic() -> None:
    assert suspend_aware_seconds() <= suspend_aware_seconds()


def test_stopping_a_detector_that_never_started_is_harmless() -> None:
    SuspendDetector(lambda gap: None).stop()
