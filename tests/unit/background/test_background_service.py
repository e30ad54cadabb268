from __future__ import annotations

import errno
import threading
from collections.abc import Callable

import pytest

from indexd.background.background_service import BackgroundService, start_thread
from indexd.background.backoff import Backoff
from indexd.errors import StoreUnavailable

TIMEOUT_SECONDS = 30.0


class RecordingCondition(threading.Condition):
    """A condition whose waits return at once and are written down: no test sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float | None] = []

    def wait_for(self, predicate: Callable[[], object], timeout: float | None = None) -> bool:  # type: ignore[override]
        if not predicate():
            self.pauses.append(timeout)
        return bool(predicate())


class Scripted(BackgroundService):
    """Gives or raises one scripted value a turn, then requests its own stop."""

    def __init__(
        self,
        script: list[float | Exception | None],
        *,
        on_failure: Callable[[BaseException], object] | None = None,
        retry: Backoff | None = None,
    ) -> None:
        self.waits = RecordingCondition()
        super().__init__("scripted", on_failure=on_failure, retry=retry, condition=self.waits)
        self.script = script
        self.turns = 0
        self.finished: list[BaseException | None] = []

    def run_once(self) -> float | None:
        self.turns += 1
        value = self.script.pop(0)
        if isinstance(value, Exception):
            raise value
        if not self.script:
            self.request_stop()
        return value

    def finish(self) -> None:
        self.finished.append(self.failure)


class Counting(BackgroundService):
    """Counts its turns, which end when the test says so."""

    def __init__(self) -> None:
        super().__init__("counting")
        self.turns = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def run_once(self) -> float | None:
        self.turns.release()
        assert self.may_end.acquire(timeout=TIMEOUT_SECONDS)
        return None


def test_it_waits_as_long_as_each_turn_asks_for() -> None:
    service = Scripted([2.5, None, 0.0, 1.0])
    service.run()
    assert service.turns == 4
    assert service.waits.pauses == [2.5, None, 0.0]
    assert service.finished == [None]


def test_a_wake_during_a_turn_leads_to_another_turn() -> None:
    service = Counting()
    service.start()
    assert service.turns.acquire(timeout=TIMEOUT_SECONDS)
    service.wake()
    service.may_end.release()
    assert service.turns.acquire(timeout=TIMEOUT_SECONDS)
    service.request_stop()
    service.may_end.release()
    assert service.join(TIMEOUT_SECONDS)


def test_a_stop_ends_a_wait_without_end() -> None:
    service = Counting()
    service.start()
    assert service.turns.acquire(timeout=TIMEOUT_SECONDS)
    service.may_end.release()
    assert service.stop(TIMEOUT_SECONDS)
    assert service.is_stopping


def test_join_gives_up_after_its_time() -> None:
    service = Counting()
    service.start()
    assert service.turns.acquire(timeout=TIMEOUT_SECONDS)
    assert not service.stop(0)
    service.may_end.release()
    assert service.join(TIMEOUT_SECONDS)


def test_stopping_a_service_that_never_started_is_harmless() -> None:
    assert Counting().stop()


def test_a_bug_ends_the_thread_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[BaseException] = []
    bug = ValueError("a bug")
    service = Scripted([0.0, bug, 0.0], on_failure=failures.append)
    service.start()
    assert service.join(TIMEOUT_SECONDS)
    assert failures == [bug]
    assert service.failure is bug
    assert service.finished == [bug]
    assert service.is_stopping
    assert "the thread scripted failed" in caplog.text


def test_a_transient_error_is_tried_again_after_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    unavailable = StoreUnavailable("the index is locked")
    failures: list[BaseException] = []
    script: list[float | Exception | None] = [unavailable, OSError(errno.EIO, "disk"), 5.0, unavailable, 0.0]
    service = Scripted(script, on_failure=failures.append, retry=Backoff(10.0, 60.0))
    service.run()
    assert service.waits.pauses == [10.0, 20.0, 5.0, 10.0]
    assert failures == []
    assert "scripted: the index is locked; trying again in 10 s" in caplog.text


def test_a_transient_error_ends_a_service_without_a_retry() -> None:
    failures: list[BaseException] = []
    error = StoreUnavailable("the index is locked")
    Scripted([error], on_failure=failures.append).run()
    assert failures == [error]


def test_a_transient_error_while_stopping_is_logged_and_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    class StopsAndFails(Scripted):
        def run_once(self) -> float | None:
            self.request_stop()
            raise StoreUnavailable("the index is locked")

    failures: list[BaseException] = []
    service = StopsAndFails([], on_failure=failures.append)
    service.run()
    assert failures == []
    assert service.finished == [None]
    assert "does not try again" in caplog.text


def test_an_error_in_finish_is_reported() -> None:
    class FailsAtTheEnd(Scripted):
        def finish(self) -> None:
            raise ValueError("at the end")

    failures: list[BaseException] = []
    FailsAtTheEnd([0.0], on_failure=failures.append).run()
    assert [str(error) for error in failures] == ["at the end"]


def test_every_turn_is_a_sign_of_life() -> None:
    service = Scripted([0.0, 0.0])
    service.liveness.check_overdue()
    assert not service.liveness.is_overdue()
    service.run()
    assert service.liveness.overdue_seconds() == 0.0


def test_a_system_without_threads_gives_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OSError, match="the thread idle cannot start") as raised:
        start_thread(lambda: None, "idle")
    assert raised.value.errno == errno.EAGAIN
