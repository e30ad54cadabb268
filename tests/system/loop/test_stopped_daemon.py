"""The daemon is stopped (SIGSTOP) while the disk goes on: every file is indexed afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from indexd.demo.daemon_process import DaemonProcess
from tests.system.loop.pictures import picture, renumbered, write

if sys.platform == "win32":
    pytest.skip("Windows cannot stop a process with a signal", allow_module_level=True)

WRITTEN_WHILE_STOPPED = 20_000
MOVED_IN = 50


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system has no SIGSTOP")
def test_nothing_that_appeared_while_stopped_is_lost(bare_home: Path, tmp_path: Path) -> None:
    watched = bare_home / "pictures"
    watched.mkdir()
    settings = bare_home / "indexd.toml"
    settings.write_text(settings.read_text() + f'[[roots]]\npath = "{watched}"\n')
    template = picture(0)
    for number in range(MOVED_IN):
        write(tmp_path / "tree" / f"deep{number % 5}" / "er", f"{number}.png", renumbered(template, 1_000_000 + number))
    with DaemonProcess(bare_home) as daemon:
        write(watched, "first.png", template)
        daemon.wait_until("the first picture", lambda status: status.images == 1, 30)
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            for number in range(WRITTEN_WHILE_STOPPED):
                folder = watched / f"day{number % 20}"
                write(folder, f"{number}.png", renumbered(template, number))
            shutil.move(tmp_path / "tree", watched / "tree")
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        expected = 1 + WRITTEN_WHILE_STOPPED + MOVED_IN
        status = daemon.wait_until("every picture", lambda status: status.images >= expected, 300)
        assert status.images == expected
        assert status.files == expected
        assert status.missing_files == 0
