"""The real daemon under a service manager that the test plays: ready, fed, reloaded, drained, stopped."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.demo.daemon_process import DaemonProcess
from tests.system.loop.conftest import bare_home as bare_home
from tests.system.loop.pictures import picture, write
from tests.system.service.conftest import Manager

if sys.platform == "win32":
    pytest.skip("Windows has no SIGHUP", allow_module_level=True)

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")


@pytest.fixture
def daemon(bare_home: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaemonProcess]:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with DaemonProcess(bare_home) as daemon:
        manager.wait_for("ready", lambda heard: ("READY", "1") in heard)
        yield daemon


def told(manager: Manager, name: str, value: str | None = None) -> int:
    return sum(1 for field, text in manager.heard if field == name and value in (None, text))


def test_ready_fed_with_a_line_and_drained_by_the_first_signal(daemon: DaemonProcess, manager: Manager) -> None:
    manager.wait_for("food", lambda _: manager.count("WATCHDOG") >= 3)
    manager.wait_for("the line", lambda heard: any("watching 2 folders" in text for _, text in heard))
    os.kill(daemon.pid, signal.SIGTERM)
    manager.wait_for("stopping", lambda heard: ("STOPPING", "1") in heard)
    assert daemon.wait(20) == 0


def test_a_second_signal_stops_at_once(daemon: DaemonProcess, manager: Manager) -> None:
    os.kill(daemon.pid, signal.SIGSTOP)
    os.kill(daemon.pid, signal.SIGTERM)
    os.kill(daemon.pid, signal.SIGINT)
    os.kill(daemon.pid, signal.SIGCONT)
    assert daemon.wait(20) in (128 + signal.SIGTERM, 128 + signal.SIGINT)


def test_a_reload_brings_a_new_folder_into_force(
    daemon: DaemonProcess, manager: Manager, bare_home: Path, tmp_path: Path
) -> None:
    write(tmp_path / "more", "one.png", picture(1))
    settings = bare_home / "indexd.toml"
    settings.write_text(settings.read_text() + f'[[roots]]\npath = "{tmp_path / "more"}"\n')
    os.kill(daemon.pid, signal.SIGHUP)
    manager.wait_for("reloading", lambda heard: ("RELOADING", "1") in heard)
    assert told(manager, "MONOTONIC_USEC") == 1
    manager.wait_for("ready again", lambda _: told(manager, "READY") == 2)
    status = daemon.wait_until("the picture", lambda status: status.images == 1, 20)
    assert status.pid == daemon.pid
    assert any("changed: roots" in event.text for event in status.events)
    assert told(manager, "STOPPING") == 0


def test_a_broken_settings_file_leaves_the_old_ones_in_force_and_says_so(
    daemon: DaemonProcess, manager: Manager, bare_home: Path
) -> None:
    (bare_home / "indexd.toml").write_text("[watch]\nsettle_secs = 1\n")
    os.kill(daemon.pid, signal.SIGHUP)
    manager.wait_for("ready again", lambda _: told(manager, "READY") == 2)
    assert "the old ones stay in force" in daemon.log.read_text()
    write(bare_home / "output", "one.png", picture(2))
    (bare_home / "indexd.toml").write_text("")
    status = daemon.wait_until("the picture", lambda status: status.images == 1, 20)
    assert any(event.kind == "settings refused" and "settle_secs" in event.text for event in status.events)


def test_settings_that_cannot_be_carried_out_bring_the_old_ones_back(
    daemon: DaemonProcess, manager: Manager, bare_home: Path
) -> None:
    (bare_home / "file").touch()
    settings = bare_home / "indexd.toml"
    settings.write_text(settings.read_text() + f'[paths]\noutput = "{bare_home / "file" / "output"}"\n')
    os.kill(daemon.pid, signal.SIGHUP)
    manager.wait_for("ready again", lambda _: told(manager, "READY") == 2)
    assert "the old ones are in force again" in daemon.log.read_text()
    write(bare_home / "output", "one.png", picture(3))
    settings.write_text("")
    daemon.wait_until("the picture", lambda status: status.images == 1, 20)


def test_a_door_that_cannot_be_opened_brings_the_old_one_back(
    daemon: DaemonProcess, manager: Manager, bare_home: Path
) -> None:
    settings = bare_home / "indexd.toml"
    old = settings.read_text()
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings.write_text(old + f'[api]\nlisten = "tcp"\nport = {other.getsockname()[1]}\n')
        os.kill(daemon.pid, signal.SIGHUP)
        manager.wait_for("ready again", lambda _: told(manager, "READY") == 2)
    assert "the old ones are in force again: cannot listen on 127.0.0.1" in daemon.log.read_text()
    settings.write_text(old)
    assert (status := daemon.status()) is not None
    assert status.pid == daemon.pid


def test_the_form_of_the_log_changes_without_a_new_start(
    daemon: DaemonProcess, manager: Manager, bare_home: Path
) -> None:
    settings = bare_home / "indexd.toml"
    settings.write_text(settings.read_text() + f'[log]\nformat = "json"\nfile = "{bare_home / "own.log"}"\n')
    os.kill(daemon.pid, signal.SIGHUP)
    manager.wait_for("ready again", lambda _: told(manager, "READY") == 2)
    status = daemon.status()
    assert status is not None
    os.kill(daemon.pid, signal.SIGTERM)
    assert daemon.wait(20) == 0
    assert '"text": "stopping' in (bare_home / "own.log").read_text()
    assert daemon.log.read_text().count("ready:") == 1
