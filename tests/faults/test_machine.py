"""The machine around a running daemon: no file handles, a clock that jumps, a stranger's lock, a second daemon."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import apsw
import psutil
import pytest

from indexd.demo.daemon_process import DaemonProcess
from indexd.indexing.role_backoff import RoleBackoff
from indexd.jobs.queue.retry import RETRY_SECONDS
from indexd.store.sqlite.store import SqliteStore
from tests.faults.conftest import START_SECONDS, Launch
from tests.faults.doing import add_images, agree, job, rate, until_idle
from tests.faults.shim import Shim
from tests.unit.store.sample_rows import Library, new_job

if sys.platform != "linux":
    pytest.skip("these faults are injected with Linux system calls", allow_module_level=True)

DAY = 86_400
READY = " process_lifecycle: ready: "


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on another process's handles is Linux")
def test_without_file_handles_for_a_while_nothing_is_lost(home: Path, launch: Launch) -> None:
    daemon = launch(home)
    add_images(home, 3)
    until_idle(daemon, images=3)
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (psutil.Process(daemon.pid).num_fds() - 2, before[1]))
    add_images(home, 20, first=3)
    job(home, "handles")
    time.sleep(2.0)  # long enough for some of them to be met
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
    until_idle(daemon, images=25, jobs=1)
    agree(daemon)


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on another process's handles is Linux")
def test_without_file_handles_from_the_first_moment_on_it_lives_and_nothing_is_lost(home: Path, launch: Launch) -> None:
    """Before any thread has read the index, for which it needs a handle."""
    daemon = launch(home)
    add_images(home, 3)
    until_idle(daemon, images=3)
    images = 3
    for _ in range(3):
        daemon.kill()
        daemon.launch()
        while READY not in daemon.log_output():
            time.sleep(0.005)
        before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (psutil.Process(daemon.pid).num_fds(), before[1]))
        add_images(home, 2, first=images)
        job(home, f"job{images}")
        images += 4
        time.sleep(2.0)
        assert psutil.Process(daemon.pid).status() != psutil.STATUS_ZOMBIE, daemon.exit_report()
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
    until_idle(daemon, images, jobs=3)
    agree(daemon)


@pytest.mark.parametrize("jump", [-30 * DAY, 400 * DAY])
def test_the_clock_jumps_while_everything_runs(home: Path, launch: Launch, jump: int) -> None:
    shim = Shim(home)
    daemon = launch(home, shim.environment)
    add_images(home, 5)
    job(home, "before", count=3)
    shim.order(clock=jump)
    add_images(home, 5, first=5)
    job(home, "after", count=3)
    until_idle(daemon, images=16, jobs=2)
    agree(daemon)


def test_what_waits_for_its_next_attempt_is_not_forgotten_when_the_clock_is_set_back(home: Path) -> None:
    with SqliteStore.open(home / "index.db") as store:
        now = 1_000_000.0
        library = Library(store, store.roots.ensure(b"/pictures", "images"))
        image_id = library.add("a.png", stages=("clip_h",))
        store.index_tasks.claim("clip_h", 1, now)
        store.index_tasks.mark_failed("clip_h", image_id, "gone", retry_at=now + 600)
        made = store.jobs.admit(new_job(items=1))
        (item,) = store.jobs.items(made.id)
        store.jobs.begin_attempt(item.id)
        store.jobs.mark_item_failed(item.id, "died", retry_at=now + RETRY_SECONDS[-1])
        assert store.index_tasks.claim("clip_h", 1, now) == []
        assert store.jobs.next_item(now) is None
        assert store.jobs.next_item(now - DAY) is not None
        assert [one.image_id for one in store.index_tasks.claim("clip_h", 1, now - DAY)] == [image_id]


def test_a_hold_does_not_last_longer_because_the_clock_was_set_back() -> None:
    now = 1_000_000.0
    backoff = RoleBackoff(lambda _role: None, lambda: now)
    backoff.back_off("bge", "off")
    assert backoff.is_backed_off("bge")
    now -= DAY
    assert not backoff.is_backed_off("bge")


def test_a_stranger_that_holds_the_index_for_a_moment_costs_nothing(home: Path, launch: Launch) -> None:
    daemon = launch(home)
    (path,) = add_images(home, 1)
    until_idle(daemon, images=1)
    stranger = apsw.Connection(str(home / "index.db"))
    stranger.set_busy_timeout(30_000)
    stranger.execute("BEGIN IMMEDIATE")
    add_images(home, 5, first=1)
    stranger.close()
    rate(home, path, 5)
    until_idle(daemon, images=6)
    agree(daemon)


def test_a_stranger_that_holds_the_index_for_longer_than_anybody_waits_ends_nothing(home: Path, launch: Launch) -> None:
    daemon = launch(home)
    add_images(home, 1)
    until_idle(daemon, images=1)
    before = daemon.pid
    stranger = apsw.Connection(str(home / "index.db"))
    stranger.set_busy_timeout(30_000)
    stranger.execute("BEGIN IMMEDIATE")
    add_images(home, 5, first=1)
    job(home, "waits")
    time.sleep(4.0)  # four times what the daemon of these tests waits for the lock
    assert "is being written by another program" in daemon.log_output()
    stranger.close()
    status = until_idle(daemon, images=8, jobs=1)
    assert status.pid == before
    agree(daemon)


def test_a_second_daemon_is_refused_and_the_first_goes_on(home: Path, launch: Launch) -> None:
    daemon = launch(home)
    second = DaemonProcess(home, None, "tests.faults.instant")
    second.launch()
    assert second.wait(START_SECONDS) != 0
    assert f"already running for {home / 'index.db'} (process {daemon.pid})" in daemon.log.read_text("utf-8")
    add_images(home, 1)
    until_idle(daemon, images=1)
