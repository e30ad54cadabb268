"""The watchdog is fed while the queues move, and not a moment longer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.config import read_config
from indexd.daemon import Daemon
from indexd.errors import StoreError
from indexd.indexing.stages.thumbnail import ThumbnailStage
from indexd.liveness import Liveness
from indexd.process_lifecycle import EXIT_STUCK
from indexd.service.status_line import MAX_LINE_CHARACTERS, StatusSummary
from indexd.service.watchdog import Watchdog, watchdog_seconds
from tests.system.loop.conftest import bare_home as bare_home
from tests.system.service.conftest import Manager


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_thread_that_answers_its_wake_up_is_never_late() -> None:
    clock = Clock()
    pulse = Liveness("jobs", wake=lambda: pulse.beat(), limit_seconds=10, clock=clock)
    for clock.now in range(0, 1000, 50):
        assert pulse.check_overdue() is None


def test_a_thread_that_does_not_answer_is_late_after_the_limit_and_well_again_with_a_beat() -> None:
    clock = Clock()
    woken: list[float] = []
    pulse = Liveness("jobs", wake=lambda: woken.append(clock.now), limit_seconds=10, clock=clock)
    assert pulse.check_overdue() is None
    clock.now = 9
    assert pulse.check_overdue() is None
    clock.now = 11
    assert pulse.check_overdue() == 11
    assert woken == [0, 9, 11]
    pulse.beat()
    assert pulse.check_overdue() is None


def test_an_empty_queue_owes_nothing_and_a_full_one_that_rests_does() -> None:
    clock = Clock()
    waiting = 0
    pulse = Liveness("reading", busy=lambda: waiting > 0, limit_seconds=10, clock=clock)
    clock.now = 1000
    assert pulse.check_overdue() is None
    waiting = 3
    clock.now = 1005
    assert pulse.check_overdue() is None
    clock.now = 1011
    assert pulse.check_overdue() == 11


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_who_watches(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment) == seconds


def test_without_a_watchdog_whoever_hosts_the_daemon_is_told_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    given_up: list[bool] = []
    clock = Clock()
    heart = Watchdog([Liveness("jobs", limit_seconds=1, clock=clock)], str, lambda: given_up.append(True))
    assert heart.check()
    clock.now = 2
    assert not heart.check()
    assert given_up == [True]


def test_the_line_is_told_once_and_counting_takes_a_small_part_of_the_time(manager: Manager) -> None:
    clock = Clock()
    asked: list[float] = []

    def status() -> str:
        asked.append(clock.now)
        clock.now += 2
        return "watching 1 folder"

    heart = Watchdog([], status, clock=clock)
    for clock.now in (0, 100, 399, 410):
        heart.check()
    assert asked == [0, 410]
    manager.listen()
    assert [value for field, value in manager.heard if field == "STATUS"] == ["watching 1 folder"]
    assert manager.count("WATCHDOG") == 4


def test_an_index_that_cannot_be_counted_does_not_stop_the_heart(manager: Manager) -> None:
    def broken() -> str:
        raise StoreError("the index is locked\nby a stranger")

    assert Watchdog([], broken).check()
    manager.listen()
    assert ("STATUS", "the index is locked by a stranger") in manager.heard


def test_the_sentence() -> None:
    assert StatusSummary(folders=1).format_line() == "watching 1 folder; nothing to do"
    line = StatusSummary(3, 1, 1, 12, 40, {"queued": 2, "running": 1, "done": 9}, "the disk is full").format_line()
    assert line == (
        "watching 3 folders (1 offline); comparing 1 with the index; 12 files to read; 40 index tasks;"
        " 1 job running; 2 jobs queued; the job queue is paused: the disk is full"
    )
    assert len(StatusSummary(paused="x" * 500).format_line()) == MAX_LINE_CHARACTERS


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    home = Path(tempfile.mkdtemp(prefix="ixd-"))
    daemon = Daemon(read_config(home))
    yield daemon
    daemon.stop()
    shutil.rmtree(home, ignore_errors=True)


def hang(daemon: Daemon, thread: str, until: threading.Event) -> None:
    """Have one of the real threads wait for ever in the middle of its turn, with something to do."""

    def never(*_: object) -> None:
        until.wait()

    def nothing(*_: object) -> list[object]:
        until.wait()
        return []

    if thread == "jobs":
        daemon.runner._ledger.next_item = never  # type: ignore[method-assign,assignment]
    elif thread == "layers":
        daemon.store.index_tasks.claim = nothing  # type: ignore[method-assign,assignment]
        daemon.embedding_dispatcher._ready_stages = lambda: iter([(ThumbnailStage(), "decode")])  # type: ignore[method-assign]
    elif thread == "api":
        server = daemon.server._server
        assert server is not None
        server.call_soon(never)
    elif thread == "recording":
        daemon.store.images.ingest = nothing  # type: ignore[method-assign,assignment]
    else:
        daemon.ingest._read = nothing  # type: ignore[method-assign,assignment]
    if thread in ("reading", "recording"):
        from PIL import Image

        for number in range(3):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(daemon.config.paths.output / f"{number}.png")
        daemon.watch_service.scan()


@pytest.mark.parametrize("thread", ["jobs", "layers", "api", "recording", "reading"])
def test_a_thread_that_hangs_stops_the_feeding_and_one_that_goes_on_starts_it_again(
    thread: str, daemon: Daemon, manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.start()
    pulses = daemon.thread_liveness()
    assert {pulse.name for pulse in pulses} == {"jobs", "layers", "api", "recording", "reading"}
    for pulse in pulses:
        pulse._limit = 0.4
    heart = Watchdog(pulses, lambda: daemon.status_summary().format_line())
    heart.start()
    until = threading.Event()
    try:
        manager.wait_for("food", lambda _: manager.count("WATCHDOG") >= 5)
        hang(daemon, thread, until)
        manager.wait_for("the hang", lambda heard: ("STATUS", f"stuck: {thread}") in heard)
        fed = manager.count("WATCHDOG")
        manager.listen(0.3)
        assert manager.count("WATCHDOG") == fed
        assert f"{thread} has not moved" in caplog.text
    finally:
        until.set()
    if thread in ("jobs", "api"):
        manager.wait_for("food again", lambda _: manager.count("WATCHDOG") > fed)
    heart.stop()


# The command of launchd and of the Task Scheduler, which have no watchdog: the thread of the jobs hangs in its first turn.
STUCK = """
import sys, threading
from indexd import liveness
from indexd.jobs.queue import runner
from indexd.service import watchdog
liveness.Liveness.__init__.__kwdefaults__["limit_seconds"] = 0.5
watchdog.CHECK_INTERVAL_SECONDS = 0.1
runner.JobRunner.run_once = lambda *_: threading.Event().wait()
from indexd.cli import main
sys.argv[1:] = ["--home", sys.argv[1], "run", "--end-when-stuck"]
sys.exit(main())
"""


def test_a_manager_without_a_watchdog_gets_an_end_that_it_can_act_on(bare_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK, str(bare_home)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == EXIT_STUCK, done.stderr
    assert "jobs has not moved" in done.stderr
    assert "so that the service manager starts it again" in done.stderr
