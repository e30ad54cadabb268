"""Real child processes, without any model: start, order, death, hang, cancel, idle leave, stop."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from multiprocessing.context import SpawnContext
from pathlib import Path

import psutil
import pytest
from PIL import UnidentifiedImageError

from indexd.errors import (
    CallCancelled,
    CallTimedOut,
    OutOfMemory,
    RenderFailed,
    StorageFull,
    WorkerDied,
    is_resource_shortage,
)
from indexd.worker.call_handle import OnProgress
from indexd.worker.calls import CallProgress, Priority, SelfTest, WorkerSettings
from indexd.worker.child import call_server
from indexd.worker.local_workers import LocalWorkers
from indexd.worker.protocol import WorkerBug, picklable_error
from indexd.worker.supervisor import lane as lane_module

LONG = 100_000
WAIT = 60.0


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(models={}, cache_folder=str(tmp_path), threads=1, log_level="DEBUG")


@pytest.fixture
def events() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def workers(settings: WorkerSettings, events: list[tuple[str, str]]) -> Iterator[LocalWorkers]:
    workers = LocalWorkers(settings, lambda kind, text: events.append((kind, text)))
    yield workers
    workers.stop(0.0)


def steps(count: int = LONG, payload: object = None) -> SelfTest:
    return SelfTest("steps", steps=count, seconds=0.005, payload=payload)


class Begun:
    """A listener that lets a test wait until a call is really in hand."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.seen: list[CallProgress] = []

    def __call__(self, progress: CallProgress) -> None:
        self.seen.append(progress)
        self.event.set()

    def wait(self) -> None:
        assert self.event.wait(WAIT)


def test_a_call_is_answered_from_another_process(workers: LocalWorkers) -> None:
    assert workers.submit(SelfTest("echo", payload={"a": (1, b"\xff")})).result(WAIT) == {"a": (1, b"\xff")}
    (lane,) = workers.status()
    assert lane.alive
    assert lane.pid not in (None, os.getpid())
    assert (lane.lane, lane.deaths, lane.queued, lane.running) == ("decode", 0, 0, 0)


def test_lanes_are_processes_of_their_own(workers: LocalWorkers) -> None:
    for lane in ("decode", "cpu", "gpu"):
        workers.submit(SelfTest("echo", lane=lane)).result(WAIT)
    assert [status.lane for status in workers.status()] == ["gpu", "cpu", "decode"]


def test_progress_is_told_in_order(workers: LocalWorkers) -> None:
    begun = Begun()
    workers.submit(steps(5), on_progress=begun).result(WAIT)
    assert [(told.done, told.total) for told in begun.seen] == [(n, 5) for n in range(1, 6)]


def test_a_listener_that_raises_does_not_hurt_the_call(workers: LocalWorkers) -> None:
    def broken(_progress: CallProgress) -> None:
        raise RuntimeError("broken listener")

    assert workers.submit(steps(2, "fine"), on_progress=broken).result(WAIT) == "fine"


def test_an_error_of_the_call_comes_back_and_the_worker_lives(workers: LocalWorkers) -> None:
    with pytest.raises(WorkerBug, match="told to fail: so"):
        workers.submit(SelfTest("fail", payload="so")).result(WAIT)
    assert workers.submit(SelfTest("echo", payload=1)).result(WAIT) == 1
    assert workers.status()[0].deaths == 0


def test_a_result_that_cannot_cross_fails_that_call_only(workers: LocalWorkers) -> None:
    with pytest.raises((TypeError, AttributeError)):
        workers.submit(SelfTest("echo", payload=lambda: None))
    assert workers.submit(SelfTest("echo", payload=1)).result(WAIT) == 1


def test_a_death_fails_the_call_in_hand_only_and_the_rest_is_done(
    workers: LocalWorkers, events: list[tuple[str, str]]
) -> None:
    begun = Begun()
    workers.submit(steps(1), on_progress=begun).result(WAIT)
    dying = workers.submit(SelfTest("die"))
    after = [workers.submit(SelfTest("echo", payload=n)) for n in range(5)]
    with pytest.raises(WorkerDied, match="exit code 23"):
        dying.result(WAIT)
    assert [call.result(WAIT) for call in after] == list(range(5))
    assert workers.status()[0].deaths == 1
    assert [kind for kind, _ in events] == ["worker_died"]


def test_kill_9_at_any_moment_is_noticed(workers: LocalWorkers) -> None:
    for _ in range(3):
        begun = Begun()
        call = workers.submit(steps(), on_progress=begun)
        begun.wait()
        pid = workers.status()[0].pid
        assert pid is not None
        psutil.Process(pid).kill()
        with pytest.raises(WorkerDied, match="SIGKILL"):
            call.result(WAIT)
    assert workers.submit(SelfTest("echo", payload=2)).result(WAIT) == 2
    assert workers.status()[0].deaths == 3


def test_kill_9_of_an_idle_worker_costs_no_call(workers: LocalWorkers) -> None:
    workers.submit(SelfTest("echo")).result(WAIT)
    pid = workers.status()[0].pid
    assert pid is not None
    psutil.Process(pid).kill()
    assert workers.submit(SelfTest("echo", payload=3)).result(WAIT) == 3


def test_a_hung_call_is_ended_after_its_limit_and_others_go_on(workers: LocalWorkers) -> None:
    hung = workers.submit(SelfTest("hang"), timeout_seconds=0.2)
    after = workers.submit(SelfTest("echo", payload=4))
    with pytest.raises(CallTimedOut, match=r"no progress for 0\.2 s"):
        hung.result(WAIT)
    assert after.result(WAIT) == 4


def test_a_stopped_process_is_a_hung_one(workers: LocalWorkers) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows cannot stop a process with a signal")
    begun = Begun()
    call = workers.submit(steps(), on_progress=begun, timeout_seconds=3.0)
    begun.wait()
    pid = workers.status()[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    # More than a pipe holds, while nobody reads.
    big = [workers.submit(SelfTest("echo", payload=b"x" * 500_000)) for _ in range(4)]
    with pytest.raises(CallTimedOut):
        call.result(WAIT)
    assert all(len(one.result(WAIT)) == 500_000 for one in big)


def test_progress_holds_the_limit_off(workers: LocalWorkers) -> None:
    assert workers.submit(SelfTest("steps", steps=30, seconds=0.1), timeout_seconds=2.5).result(WAIT) is None


def test_a_call_in_hand_is_cancelled_at_its_next_step(workers: LocalWorkers) -> None:
    begun = Begun()
    call = workers.submit(steps(), on_progress=begun)
    begun.wait()
    call.cancel()
    with pytest.raises(CallCancelled):
        call.result(WAIT)
    assert workers.status()[0].deaths == 0
    assert workers.submit(SelfTest("echo", payload=5)).result(WAIT) == 5


def test_a_cancelled_call_that_does_not_stop_is_ended_and_others_go_on(
    workers: LocalWorkers,
    monkeypatch: pytest.MonkeyPatch,
    events: list[tuple[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(lane_module, "CANCEL_GRACE_SECONDS", 0.3)
    begun = Begun()
    call = workers.submit(SelfTest("hang"), on_progress=begun)
    begun.wait()
    call.cancel()
    next_call = workers.submit(SelfTest("echo", payload=5))
    with pytest.raises(CallCancelled, match="its worker was killed"):
        call.result(WAIT)
    assert next_call.result(WAIT) == 5
    assert (workers.status()[0].deaths, events) == (0, [])
    assert "killed because a cancelled call did not stop (SelfTest)" in caplog.text


def test_a_waiting_call_is_cancelled_at_once(workers: LocalWorkers) -> None:
    begun = Begun()
    first = workers.submit(steps(), on_progress=begun)
    begun.wait()
    waiting = workers.submit(SelfTest("echo"))
    waiting.cancel()
    assert waiting.done()
    with pytest.raises(CallCancelled):
        waiting.result(0)
    first.cancel()
    first.cancel()


def test_urgent_calls_are_served_between_the_steps_of_another(workers: LocalWorkers) -> None:
    begun = Begun()
    render = workers.submit(steps(), on_progress=begun)
    begun.wait()
    urgent = workers.submit(SelfTest("echo", payload="now"), priority=Priority.URGENT)
    assert urgent.result(WAIT) == "now"
    assert not render.done()
    render.cancel()


def test_waiting_calls_are_begun_in_order_of_priority(workers: LocalWorkers) -> None:
    begun, order = Begun(), list[str]()

    def noting(name: str) -> OnProgress:
        return lambda _progress: order.append(name)

    first = workers.submit(steps(), on_progress=begun)
    begun.wait()
    calls = [
        workers.submit(steps(1), priority=priority, on_progress=noting(name))
        for name, priority in (("background", Priority.BACKGROUND), ("job 1", Priority.JOB), ("job 2", Priority.JOB))
    ]
    first.cancel()
    for call in calls:
        call.result(WAIT)
    assert order == ["job 1", "job 2", "background"]


def test_an_idle_worker_leaves_and_comes_back_without_a_death(
    settings: WorkerSettings, events: list[tuple[str, str]]
) -> None:
    workers = LocalWorkers(settings, lambda kind, text: events.append((kind, text)))
    workers.submit(SelfTest("echo", lane="cpu")).result(WAIT)
    pid = workers.status()[0].pid
    assert pid is not None
    psutil.Process(pid).wait(WAIT)
    assert workers.submit(SelfTest("echo", lane="cpu", payload=6)).result(WAIT) == 6
    assert workers.status()[0].pid != pid
    assert workers.status()[0].deaths == 0
    assert events == []
    workers.stop(0.0)


def test_calls_that_meet_a_leaving_worker_are_handed_to_the_next(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, events: list[tuple[str, str]]
) -> None:
    """The race of the idle leave, over and over: a worker that leaves at once, and calls that come just then."""
    monkeypatch.setattr("indexd.worker.child.call_server.main", leaves_at_once)
    workers = LocalWorkers(settings, lambda kind, text: events.append((kind, text)))
    for number in range(8):
        assert workers.submit(SelfTest("echo", lane="cpu", payload=number)).result(WAIT) == number
    assert events == []
    workers.stop(0.0)


def leaves_at_once(connection: object, lane: str, settings: WorkerSettings) -> None:
    """Runs in the child: no lingering at all."""
    call_server.DEFAULT_IDLE_EXIT_SECONDS = 0.0
    call_server.main(connection, lane, settings)  # type: ignore[arg-type]


def test_stop_lets_the_call_in_hand_finish_and_gives_the_rest_back(workers: LocalWorkers) -> None:
    begun = Begun()
    in_hand = workers.submit(steps(60, "finished"), on_progress=begun)
    begun.wait()
    waiting = workers.submit(SelfTest("echo"))
    workers.stop(WAIT)
    assert in_hand.result(0) == "finished"
    with pytest.raises(CallCancelled):
        waiting.result(0)
    with pytest.raises(CallCancelled):
        workers.submit(SelfTest("echo")).result(0)
    assert not workers.status()[0].alive


def test_stop_ends_a_call_that_takes_too_long(workers: LocalWorkers) -> None:
    begun = Begun()
    call = workers.submit(SelfTest("hang"), on_progress=begun)
    begun.wait()
    workers.stop(0.1)
    with pytest.raises(CallCancelled):
        call.result(0)


def dies_at_first(connection: object, lane: str, settings: WorkerSettings) -> None:
    """Runs in the child: three times it dies before it begins anything."""
    starts = Path(settings.cache_folder, "starts")
    starts.write_text(str(int(starts.read_text() if starts.exists() else 0) + 1))
    if int(starts.read_text()) <= 3:
        os._exit(9)
    call_server.main(connection, lane, settings)  # type: ignore[arg-type]


def test_a_worker_that_dies_at_its_start_is_started_again_and_no_call_is_lost(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, events: list[tuple[str, str]]
) -> None:
    monkeypatch.setattr("indexd.worker.child.call_server.main", dies_at_first)
    monkeypatch.setattr("indexd.worker.supervisor.lane.FIRST_RESTART_DELAY_SECONDS", 0.01)
    workers = LocalWorkers(settings, lambda kind, text: events.append((kind, text)))
    calls = [workers.submit(SelfTest("echo", payload=n)) for n in range(3)]
    assert [call.result(WAIT) for call in calls] == [0, 1, 2]
    assert len(events) == 3
    assert "exit code 9; calls lost: 0" in events[0][1]
    workers.stop(0.0)


def test_a_lane_without_descriptors_for_a_moment_starts_its_worker_later(
    workers: LocalWorkers, events: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = SpawnContext.Pipe, []

    def pipe(context: SpawnContext, *arguments: bool) -> object:
        tries.append(1)
        if len(tries) == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(context, *arguments)

    monkeypatch.setattr(SpawnContext, "Pipe", pipe)
    assert workers.submit(SelfTest("echo", payload=7)).result(WAIT) == 7
    assert [kind for kind, _ in events] == ["worker_died"]


@pytest.mark.parametrize("name", ["lane-decode", "lane-decode-send"])
def test_a_lane_that_gets_no_thread_says_so_or_begins_later_and_is_not_deaf_for_good(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real, refused = threading.Thread.start, list[str]()

    def start(thread: threading.Thread) -> None:
        if thread.name == name and not refused:
            refused.append(name)
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr("indexd.worker.supervisor.lane.FIRST_RESTART_DELAY_SECONDS", 0.01)
    events: list[str] = []
    workers = LocalWorkers(settings, lambda _kind, text: events.append(text))
    first = workers.submit(SelfTest("echo", payload=1))
    if name == "lane-decode":
        error = first.future.exception(WAIT)
        assert error is not None and is_resource_shortage(error)
    else:
        assert first.result(WAIT) == 1
        assert "can't start new thread" in events[0]
    assert refused
    assert workers.submit(SelfTest("echo", payload=2)).result(WAIT) == 2
    workers.stop(0.0)


class Unreadable:
    """Crosses to the child and cannot be read when it comes back, as an error of a library that is not installed here."""

    def __init__(self, here: int) -> None:
        self.here = here

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return _readable_elsewhere, (self.here,)


def _readable_elsewhere(here: int) -> Unreadable:
    if os.getpid() == here:
        raise ModuleNotFoundError("no such library here")
    return Unreadable(here)


def test_an_answer_that_cannot_be_read_fails_its_call_and_the_lane_lives(workers: LocalWorkers) -> None:
    with pytest.raises(WorkerDied):
        workers.submit(SelfTest("echo", payload=Unreadable(os.getpid()))).result(WAIT)
    assert workers.submit(SelfTest("echo", payload=8)).result(WAIT) == 8


def test_an_event_that_cannot_be_told_does_not_end_the_lane(settings: WorkerSettings) -> None:
    def deaf(_kind: str, _text: str) -> None:
        raise StorageFull("the disk is full")

    workers = LocalWorkers(settings, deaf)
    with pytest.raises(WorkerDied):
        workers.submit(SelfTest("die")).result(WAIT)
    assert workers.submit(SelfTest("echo", payload=9)).result(WAIT) == 9
    workers.stop(0.0)


def test_errors_of_libraries_cross_as_plain_ones() -> None:
    crossed = picklable_error(UnidentifiedImageError("cannot identify image file"))
    assert (type(crossed), str(crossed)) == (OSError, "cannot identify image file")
    missing = FileNotFoundError(errno.ENOENT, "No such file", "/x")
    assert picklable_error(missing) is missing


def test_a_shortage_crosses_as_what_it_is_whatever_it_was_called_on_its_way() -> None:
    def called(number: int) -> Exception:
        try:
            try:
                raise OSError(number, os.strerror(number), "/models/x.safetensors")
            except OSError as error:
                raise ValueError("no such file, it seems") from error
        except ValueError:
            try:
                raise RenderFailed("the LoRA x cannot be read")
            except RenderFailed as error:
                return picklable_error(error)

    crossed = called(errno.ENFILE)
    assert isinstance(crossed, OSError) and crossed.errno == errno.ENFILE
    assert "the LoRA x cannot be read" in str(crossed)
    assert isinstance(called(errno.ENOMEM), OutOfMemory)
    assert isinstance(called(errno.EACCES), RenderFailed)


def test_stop_does_not_wait_for_a_worker_that_cannot_start(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "indexd.worker.child.call_server.main", os._exit
    )  # called with three arguments: the child dies of it
    monkeypatch.setattr("indexd.worker.supervisor.lane.FIRST_RESTART_DELAY_SECONDS", 1000.0)
    monkeypatch.setattr("indexd.worker.supervisor.lane.MAX_RESTART_DELAY_SECONDS", 1000.0)
    died = threading.Event()
    workers = LocalWorkers(settings, lambda _kind, _text: died.set())
    call = workers.submit(SelfTest("echo"))
    assert died.wait(WAIT)
    workers.stop(0.0)
    with pytest.raises(CallCancelled):
        call.result(0)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("action", ["hang", "echo"])
def test_no_worker_outlives_a_killed_daemon(tmp_path: Path, action: str) -> None:
    script = f"""
        import sys, threading
        from indexd.worker.calls import SelfTest, WorkerSettings
        from indexd.worker.local_workers import LocalWorkers
        if __name__ == "__main__":
            workers = LocalWorkers(WorkerSettings(models={{}}, cache_folder={str(tmp_path)!r}))
            begun = threading.Event()
            call = workers.submit(SelfTest({action!r}), on_progress=lambda _p: begun.set())
            begun.wait() if {action!r} == "hang" else call.result()
            print(workers.status()[0].pid, flush=True)
            threading.Event().wait()
    """
    file = tmp_path / "daemon.py"
    file.write_text(textwrap.dedent(script), "utf-8")
    daemon = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    worker = psutil.Process(int(daemon.stdout.readline()))
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    worker.wait(WAIT)


def test_the_worker_is_not_stopped_by_the_signals_of_its_group(workers: LocalWorkers) -> None:
    begun = Begun()
    call = workers.submit(steps(40, "whole"), on_progress=begun)
    begun.wait()
    pid = workers.status()[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert call.result(WAIT) == "whole"


def test_leaving_python_without_stop_ends_the_worker(tmp_path: Path) -> None:
    script = f"""
        from indexd.worker.calls import SelfTest, WorkerSettings
        from indexd.worker.local_workers import LocalWorkers
        if __name__ == "__main__":
            workers = LocalWorkers(WorkerSettings(models={{}}, cache_folder={str(tmp_path)!r}))
            print(workers.submit(SelfTest("echo", payload="there")).result(), workers.status()[0].pid)
    """
    file = tmp_path / "short.py"
    file.write_text(textwrap.dedent(script), "utf-8")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=WAIT, check=True)
    answer, pid = done.stdout.split()
    assert answer == "there"
    assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
