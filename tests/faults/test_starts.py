"""A start that is refused: the disk, the lock, the handles, a reload too early. One sentence, an end, and well again."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path

import apsw
import pytest

from indexd.demo.daemon_process import DaemonProcess
from tests.faults import disks
from tests.faults.conftest import START_SECONDS, Launch
from tests.faults.doing import add_images, agree, until_idle
from tests.faults.instant import make_home
from tests.faults.test_disk import FULL, Fill, empty
from tests.system.loop.conftest import bare_home as bare_home

if sys.platform != "linux":
    pytest.skip("these faults are injected with Linux system calls", allow_module_level=True)


def refused(daemon: DaemonProcess) -> str:
    """Wait until it ends. The one sentence that it said."""
    assert daemon.wait(START_SECONDS) == 1, daemon.exit_report()
    assert "Traceback" not in daemon.log_output(), daemon.log_output()
    return _sentence(daemon)


def _sentence(daemon: DaemonProcess) -> str:
    (sentence,) = [line for line in daemon.log_output().splitlines() if line.startswith("indexd: ")]
    return sentence


@FULL
def test_no_room_for_a_start(place: Path, launch: Launch, fill: Fill) -> None:
    with disks.tmpfs(place / "small", "size=72m,nr_inodes=400") as small:
        home = make_home(small / "home")
        daemon = launch(home)
        add_images(home, 2)
        until_idle(daemon, images=2)
        daemon.stop(60.0)
        (home / "index.db.lock").unlink(missing_ok=True)
        filler = fill(small)
        daemon.launch()
        sentence = refused(daemon)
        assert "full" in sentence or "room" in sentence
        empty(filler)
        daemon.start(START_SECONDS)
        add_images(home, 1, first=2)
        until_idle(daemon, images=3)
        agree(daemon)


def test_an_index_that_a_stranger_holds_for_long(home: Path, launch: Launch) -> None:
    daemon = launch(home)
    add_images(home, 1)
    until_idle(daemon, images=1)
    daemon.stop(60.0)
    stranger = apsw.Connection(str(home / "index.db"))
    stranger.execute("BEGIN IMMEDIATE")
    daemon.launch()
    assert "is being written by another program" in refused(daemon)
    stranger.close()
    daemon.start(START_SECONDS)
    until_idle(daemon, images=1)
    agree(daemon)


def test_an_index_of_a_newer_program(home: Path, launch: Launch) -> None:
    daemon = launch(home)
    add_images(home, 1)
    until_idle(daemon, images=1)
    daemon.stop(60.0)
    version = _set_schema_version(home, 99)
    before = (home / "index.db").read_bytes()
    daemon.launch()
    assert "newer indexd" in refused(daemon)
    assert (home / "index.db").read_bytes() == before
    _set_schema_version(home, version)
    daemon.start(START_SECONDS)
    until_idle(daemon, images=1)
    agree(daemon)


def _set_schema_version(home: Path, number: int) -> int:
    """Write the schema version of the index; return the one before."""
    connection = apsw.Connection(str(home / "index.db"))
    [(before,)] = connection.execute("PRAGMA user_version").fetchall()
    assert isinstance(before, int)
    connection.execute(f"PRAGMA user_version = {number}")
    connection.close()
    return before


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on another process's handles is Linux")
def test_no_file_handles_for_a_start(home: Path, launch: Launch) -> None:
    daemon = launch(home)
    daemon.stop(60.0)
    (home / "indexd.toml").unlink()
    os.mkfifo(home / "indexd.toml")
    daemon.launch()
    # Everything is imported, and nothing of the daemon is open yet: it reads its settings.
    with (home / "indexd.toml").open("w") as settings:
        before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (12, before[1]))
        settings.write("")
    assert daemon.wait(START_SECONDS) == 1, daemon.exit_report()
    assert "Too many open files" in _sentence(daemon) or "unable to open" in _sentence(daemon)
    (home / "indexd.toml").unlink()
    daemon.start(START_SECONDS)


@pytest.mark.skipif(sys.platform != "linux", reason="what a process does with a signal is read from /proc")
def test_a_reload_that_is_asked_for_before_it_has_begun_does_not_end_it(bare_home: Path) -> None:
    settings = bare_home / "indexd.toml"
    text = settings.read_text("utf-8")
    settings.unlink()
    os.mkfifo(settings)
    daemon = DaemonProcess(bare_home)
    daemon.launch()
    try:
        end = time.monotonic() + START_SECONDS
        while not _minds_a_hangup(daemon.pid):
            assert time.monotonic() < end, daemon.exit_report()
            time.sleep(0.002)
        os.kill(daemon.pid, signal.SIGHUP)
        with settings.open("w", encoding="utf-8") as writer:
            settings.unlink()
            settings.write_text(text, "utf-8")
            writer.write(text)
        daemon.wait_until("an answer", lambda _status: True, START_SECONDS)
    finally:
        daemon.stop()


def _minds_a_hangup(pid: int) -> bool:
    """Whether SIGHUP is caught or ignored; else it ends the process (the masks of proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigIgn:", "SigCgt:"))]
    return any(mask >> (signal.SIGHUP - 1) & 1 for mask in masks)
