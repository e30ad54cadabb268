"""`indexd status --watch` and `indexd metrics`, in this process and, for Ctrl-C and the screen, in one of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.cli.commands import status as status_command
from indexd.errors import DaemonNotRunning
from indexd_schemas.api.output import DaemonStatus, RootState
from tests.support.sample_library import SampleLibrary
from tests.unit.cli.conftest import Indexd

posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """In a shell's background SIGINT is ignored, and the programs that are started from there inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def started(home: Path, *arguments: str, **more: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "indexd", "--home", str(home), "status", "--watch", "--every", "0.2", *arguments]
    return subprocess.Popen(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more})  # type: ignore[call-overload,no-any-return]


@posix
def test_a_line_each_time_where_there_is_no_terminal_and_ctrl_c_is_no_error(home: Path, library: SampleLibrary) -> None:
    process = started(home)
    assert process.stdout is not None
    lines = [process.stdout.readline().decode() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert all(line.endswith(" 8 images; no daemon is running\n") for line in lines)
    assert (process.returncode, error) == (0, b"")


@posix
def test_a_screen_on_a_terminal_that_is_left_as_it_was(home: Path, library: SampleLibrary) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no pseudo-terminals")
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = started(home, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown, end = b"", time.monotonic() + 30
    while shown.count(b"8 images in") < 2 and time.monotonic() < end:
        shown += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    while b"\x1b[?1049l" not in shown and time.monotonic() < end:
        shown += os.read(ours, 65536)
    assert process.wait(20) == 0
    os.close(ours)
    assert b"\x1b[?1049h" in shown
    assert b"Ctrl-C ends this" in shown


def test_a_daemon_that_goes_away_is_waited_for(
    home: Path, indexd: Indexd, library: SampleLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([DaemonNotRunning("the daemon went away"), None, KeyboardInterrupt()])
    whole = status_command._fetch_status

    def now() -> DaemonStatus:
        problem = next(looks)
        if problem is not None:
            raise problem
        return whole()

    monkeypatch.setattr(status_command, "_fetch_status", now)
    ran = indexd("status", "--watch", "--every", "0.2")
    first, second = ran.out.splitlines()
    assert "the daemon went away" in first
    assert "8 images" in second
    assert ran.code == 0


def test_documents_one_a_line(indexd: Indexd, library: SampleLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", _interrupt)
    ran = indexd("status", "--watch", "--json")
    assert json.loads(ran.out)["images"] == 8
    assert ran.code == 0


def _interrupt(_seconds: float) -> None:
    raise KeyboardInterrupt


def test_the_line_of_a_daemon() -> None:
    root = RootState(path="/p", purpose="images", mode="native", reason="", online=True, pending=3)
    now = DaemonStatus(
        running=True, version="1", home="/h", index="/i", index_bytes=1, images=5, files=5, missing_files=0, roots=[root],
        pending={"clip_h": {"pending": 2, "failed": 9}}, jobs={"queued": 1, "done": 4},
    )  # fmt: skip
    assert status_command.to_status_line(now).format_line() == (
        "watching 1 folder; comparing 1 with the index; 3 files to read; 2 index tasks; 1 job queued"
    )


def test_metrics_are_printed(indexd: Indexd, library: SampleLibrary) -> None:
    ran = indexd("metrics")
    assert ran.code == 0
    assert "\nindexd_images 8\n" in ran.out
    assert ran.out.startswith("# HELP indexd_build_info ")
