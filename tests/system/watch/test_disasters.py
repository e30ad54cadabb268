"""What watchers lose in real life: a stopped process, a reached limit. Each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.watch.manual_root import old_file

if sys.platform == "win32":
    pytest.skip("Windows cannot stop a process with a signal", allow_module_level=True)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SIGSTOP, inotify limits and user namespaces")

FILES = 20_000

# Watches argv[1]; writes a line of JSON to stdout whenever argv[2] files more were delivered or the mode changed.
PROGRAM = """
import json, os, sys, threading
from indexd.watch.indexed_files import InMemoryIndexedFiles
from indexd.watch.root_context import RootContext
from indexd.watch.roots import WatchedRoot, WatchOptions
from indexd.watch.service import WatchService
known, seen, step, events = InMemoryIndexedFiles(), {}, int(sys.argv[2]), []
def say(**what): print(json.dumps(what), flush=True)
def deliver(file):
    known.record(file.root_id, file.rel, file.stamp)
    seen[file.rel] = seen.get(file.rel, 0) + 1
    if len(seen) % step == 0:
        say(delivered=len(seen), most=max(seen.values()), events=events)
def on_state(status):
    if status.last_reconcile is not None: say(mode=status.mode, reason=status.reason)
service = WatchService(
    [WatchedRoot(1, os.fsencode(sys.argv[1]))],
    RootContext(known, deliver, lambda kind, text, root: events.append(kind),
                WatchOptions(settle_seconds=0.1, poll_seconds=0.2, sweep_seconds=3600.0), on_state))
service.start()
sys.stdin.read()
service.stop()
"""


class Watching:
    """The program above, under a shell where `before` must run first."""

    def __init__(self, folder: Path, step: int, before: str = "") -> None:
        command = [sys.executable, "-c", PROGRAM, str(folder), str(step)]
        if before:
            command = ["unshare", "-U", "-r", "sh", "-c", f'{before}; exec "$0" "$@"', *command]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def lines(self) -> Iterator[dict[str, object]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def until(self, key: str, value: object) -> dict[str, object]:
        return next(line for line in self.lines() if line.get(key) == value)

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.process.stdout.close()


def test_twenty_thousand_files_and_a_moved_tree_while_stopped(folder: Path, tmp_path: Path) -> None:
    for number in range(50):
        old_file(tmp_path / "tree" / f"{number % 5}" / f"{number}.png")
    (folder / "flat").mkdir()
    with Watching(folder, FILES + 50) as watching:
        watching.until("mode", "native")
        watching.process.send_signal(signal.SIGSTOP)
        for number in range(FILES):
            (folder / "flat" / f"{number}.png").write_bytes(b"x")
        shutil.move(tmp_path / "tree", folder / "tree")
        watching.process.send_signal(signal.SIGCONT)
        told = watching.until("delivered", FILES + 50)
        assert told["most"] == 1
        assert "watcher" in told["events"] or "resume" in told["events"]  # type: ignore[operator]


@pytest.fixture
def limited() -> str:
    """A shell line that leaves a user namespace 20 inotify watches."""
    line = "echo 20 >/proc/sys/user/max_inotify_watches"
    try:
        done = subprocess.run(["unshare", "-U", "-r", "sh", "-c", line], capture_output=True, timeout=30)
    except OSError:
        pytest.skip("no unshare command")
    if done.returncode:
        pytest.skip("user namespaces are not allowed here")
    return line


def test_the_limit_at_the_start_means_polling(folder: Path, limited: str) -> None:
    for number in range(30):
        old_file(folder / f"{number}" / "x.png")
    with Watching(folder, 1, limited) as watching:
        watching.until("delivered", 30)
        assert "max_user_watches" in str(watching.until("mode", "poll")["reason"])
        old_file(folder / "5" / "y.png")
        watching.until("delivered", 31)


def test_the_limit_later_means_polling_too(folder: Path, limited: str) -> None:
    old_file(folder / "x.png")
    with Watching(folder, 1, limited) as watching:
        watching.until("mode", "native")
        for number in range(30):
            (folder / f"{number}").mkdir()
        watching.until("mode", "poll")
        for number in range(30):
            old_file(folder / f"{number}" / "y.png")
        watching.until("delivered", 31)


def test_an_idle_service_hardly_wakes_up(folder: Path) -> None:
    """A count, not a time: rounds of all threads while nothing happens, told by the kernel as context switches."""
    for number in range(5):
        old_file(folder / f"{number}" / "x.png")
    with Watching(folder, 5) as watching:
        watching.until("mode", "native")
        before = _switches(watching.process.pid)
        time.sleep(5)
        # The heart beats once in two seconds; a polling loop of 50 ms would have woken a hundred times.
        assert _switches(watching.process.pid) - before < 30


def _switches(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task")
    lines = [line for task in tasks.iterdir() for line in (task / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
