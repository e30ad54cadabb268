from __future__ import annotations

import pytest

from indexd.background.signal import Signal


def test_listeners_are_called_in_the_order_of_subscription() -> None:
    signal: Signal[[int, str]] = Signal("order")
    calls: list[tuple[str, int, str]] = []
    signal.subscribe(lambda number, text: calls.append(("first", number, text)))
    signal.subscribe(lambda number, text: calls.append(("second", number, text)))
    signal.emit(7, "seven")
    assert calls == [("first", 7, "seven"), ("second", 7, "seven")]


def test_a_listener_that_raises_is_logged_and_the_next_one_is_called(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("broken")

    signal: Signal[[]] = Signal("faces changed")
    calls: list[str] = []
    signal.subscribe(fail)
    signal.subscribe(lambda: calls.append("called"))
    signal.emit()
    assert calls == ["called"]
    assert "a listener of faces changed failed" in caplog.text
    assert "ValueError: broken" in caplog.text


def test_an_unsubscribed_listener_is_not_called_and_its_twin_is() -> None:
    signal: Signal[[]] = Signal("twice")
    calls: list[int] = []

    def count() -> None:
        calls.append(1)

    unsubscribe = signal.subscribe(count)
    signal.subscribe(count)
    unsubscribe()
    unsubscribe()
    signal.emit()
    assert calls == [1]


def test_a_listener_may_unsubscribe_itself_during_an_emit() -> None:
    signal: Signal[[]] = Signal("once")
    calls: list[str] = []

    def once() -> None:
        calls.append("once")
        unsubscribe()

    unsubscribe = signal.subscribe(once)
    signal.subscribe(lambda: calls.append("always"))
    signal.emit()
    signal.emit()
    assert calls == ["once", "always", "always"]
