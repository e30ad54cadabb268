"""Files of the daemon that are deleted or replaced while it runs: nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexd.api.connect import connect
from indexd.api.operations import annotation, images
from indexd.config import ResolvedPaths, read_config
from indexd.demo.daemon_process import DaemonProcess
from indexd.errors import IndexdError, StoreError
from indexd.instance_lock import instance_lock
from indexd.search.query.image_target import ImageTarget, format_target
from indexd_schemas.api.requests import ImageSelector, RateRequest
from tests.system.loop.pictures import picture, write

if sys.platform != "linux":
    pytest.skip("these faults are injected with Linux system calls", allow_module_level=True)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="an open file cannot be deleted there")
WAIT_SECONDS = 30.0


@pytest.fixture
def home() -> Iterator[Path]:
    # Short, because the path of a socket must be.
    folder = Path(tempfile.mkdtemp(prefix="ixd-"))
    write(folder / "pictures", "anna.png", picture(1))
    (folder / "indexd.toml").write_text(f'[[roots]]\npath = "{folder / "pictures"}"\n', "utf-8")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def daemon(home: Path) -> Iterator[DaemonProcess]:
    with DaemonProcess(home) as process:
        process.wait_until("the image", lambda status: status.images == 1, WAIT_SECONDS)
        yield process


def paths(home: Path) -> ResolvedPaths:
    return read_config(home).paths


def eventually(holds: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, f"{what} never came"
        time.sleep(0.02)


def target(home: Path) -> str:
    return format_target(ImageTarget(path=os.fsencode(home / "pictures" / "anna.png")))


def rate(home: Path, rating: int) -> None:
    remote = connect(read_config(home), need_daemon=True)
    try:
        assert remote.call(annotation.rate, RateRequest(targets=(target(home),), rating=rating)).changed == 1
    finally:
        remote.close()


def rating(home: Path) -> int | None:
    try:
        remote = connect(read_config(home), need_daemon=True)
    except IndexdError:
        return None
    try:
        return remote.call(images.show, ImageSelector(target=target(home))).image.rating
    except IndexdError:
        return None
    finally:
        remote.close()


@pytest.mark.parametrize("lost", [("",), ("-wal",), ("-shm",), ("-wal", "-shm"), ("", "-wal", "-shm")], ids=str)
def test_a_rating_survives_the_deletion_of_the_index_or_its_log(
    home: Path, daemon: DaemonProcess, lost: tuple[str, ...]
) -> None:
    rate(home, 4)
    index = paths(home).index
    for suffix in lost:
        index.with_name(index.name + suffix).unlink()
    eventually(lambda: "the daemon restarts with it" in daemon.log_output(), "the rescue")
    eventually(lambda: rating(home) == 4, "the rating")
    rate(home, 2)
    daemon.kill()
    daemon.start()
    assert rating(home) == 2


def test_no_rating_is_acknowledged_between_the_deletion_and_the_rescue(home: Path, daemon: DaemonProcess) -> None:
    rate(home, 4)
    index = paths(home).index
    acknowledged = 4
    index.unlink()
    for number in (1, 2, 3, 5) * 20:
        try:
            rate(home, number)
        except IndexdError:
            continue
        acknowledged = number
    eventually(lambda: rating(home) == acknowledged, "the last acknowledged rating")


def test_a_file_that_replaced_the_index_is_set_aside(home: Path, daemon: DaemonProcess) -> None:
    rate(home, 4)
    index = paths(home).index
    stranger = home / "stranger"
    stranger.write_bytes(b"not an index")
    stranger.rename(index)
    eventually(lambda: rating(home) == 4 and len(list(home.glob("index.db.replaced-*Z"))) == 1, "the rescue")
    (aside,) = home.glob("index.db.replaced-*Z")
    assert aside.read_bytes() == b"not an index"


def test_the_deleted_lock_is_taken_again_before_another_daemon_can(home: Path, daemon: DaemonProcess) -> None:
    paths(home).lock.unlink()
    # At once it is the note of the process that refuses; after the next check the new lock does.
    for _ in range(2):
        with (
            pytest.raises(StoreError, match=f"already running .*process {daemon.pid}"),
            instance_lock(read_config(home)),
        ):
            pass
        eventually(lambda: "indexd created it again" in daemon.log_output(), "the new lock")
    paths(home).lock.with_suffix(".pid").unlink()
    with pytest.raises(StoreError, match="already running"), instance_lock(read_config(home)):
        pass


def test_the_deleted_socket_is_opened_anew(home: Path, daemon: DaemonProcess) -> None:
    paths(home).socket.unlink()
    eventually(lambda: daemon.status() is not None, "an answer")
    rate(home, 3)
    assert rating(home) == 3


def test_an_empty_index_beside_backups_is_reported_with_the_way_back(home: Path) -> None:
    with DaemonProcess(home) as process:
        process.wait_until("the image", lambda status: status.images == 1, WAIT_SECONDS)
        rate(home, 5)
        command = [sys.executable, "-m", "indexd", "--home", str(home), "backup"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    for file in home.glob("index.db*"):
        file.unlink()
    with DaemonProcess(home) as process:
        status = process.wait_until("the image", lambda status: status.images == 1, WAIT_SECONDS)
        (event,) = [event for event in status.events if event.kind == "index missing"]
        assert "indexd restore " in event.text
        assert event.text in process.log_output()
        (backup,) = (home / "backups").glob("index-*.db")
        assert str(backup) in event.text


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_everything_of_ours_is_private_whatever_the_umask(home: Path, umask: int) -> None:
    former = os.umask(umask)
    try:
        with DaemonProcess(home) as process:
            os.umask(former)
            process.wait_until("the image", lambda status: status.images == 1, WAIT_SECONDS)
            ours = [path for path in home.rglob("*") if path.name not in ("indexd.toml", "daemon.log", "pictures")]
            ours = [path for path in ours if path.parent.name != "pictures"]
            modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in ours}
    finally:
        os.umask(former)
    assert {"index.db", "index.db-wal", "index.db.lock", "indexd.sock", "inbox", "output"} <= {p.name for p in ours}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
    assert all(mode & 0o600 == 0o600 for mode in modes.values())


def test_a_hangup_during_the_imports_does_not_end_the_daemon(home: Path) -> None:
    """The signal comes as soon as the process ignores it, which is before the first import of the daemon."""
    with DaemonProcess(home) as process:
        process.stop()
        process.launch()
        status = Path(f"/proc/{process.pid}/status")

        def ignores_hangup() -> bool:
            (line,) = [line for line in status.read_text().splitlines() if line.startswith("SigIgn")]
            return bool(int(line.split()[1], 16) & 1 << (signal.SIGHUP - 1))

        if not status.exists():
            pytest.skip("this system has no /proc")
        eventually(ignores_hangup, "the start")
        os.kill(process.pid, signal.SIGHUP)
        process.wait_until("an answer", lambda _status: True, WAIT_SECONDS)
