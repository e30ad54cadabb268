"""The real daemon on an index that is damaged: it starts, and ratings, tags and jobs are there."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.config import read_config
from indexd.demo.daemon_process import DaemonProcess
from indexd.store.sqlite.database import PAGE_BYTES, suspect_marker
from indexd.store.sqlite.recovery.backup import verify_backup
from tests.system.loop.conftest import QUICK
from tests.system.loop.pictures import picture, write

PICTURES = 120


def indexd(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "indexd", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A home whose daemon indexed pictures, of which one was rated and tagged, and was stopped; and a copy of the home."""
    home = Path(tempfile.mkdtemp(prefix="indexd-e2e-"))
    (home / "indexd.toml").write_text(QUICK, "utf-8")
    for number in range(PICTURES):
        write(home / "output", f"{number}.png", picture(number, "a lighthouse " * 30))
    with DaemonProcess(home) as daemon:
        daemon.wait_until("the pictures", lambda status: status.images == PICTURES, 60)
        assert indexd(home, "rate", str(home / "output" / "7.png"), "5").returncode == 0
        assert indexd(home, "tag", str(home / "output" / "8.png"), "+keep").returncode == 0
        backup = indexd(home, "backup")
        assert backup.returncode == 0, backup.stderr
        assert indexd(home, "rate", str(home / "output" / "9.png"), "4").returncode == 0
    saved = tmp_path_factory.mktemp("whole") / "home"
    shutil.copytree(home, saved)
    yield home, saved
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def lived_in(whole: tuple[Path, Path]) -> Path:
    """The home as it was. Its pictures are left alone: other inodes would have to be read again."""
    home, saved = whole
    for entry in home.iterdir():
        if entry.is_dir() and entry.name != "output":
            shutil.rmtree(entry)
        elif entry.is_file():
            entry.unlink()
    shutil.copytree(saved, home, ignore=shutil.ignore_patterns("output"), dirs_exist_ok=True)
    return home


def spoil(index: Path, pages: range) -> None:
    """Wrong bytes over these pages."""
    content = bytearray(index.read_bytes())
    for page in pages:
        content[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = b"\xa5" * PAGE_BYTES
    index.write_bytes(content)


def test_the_daemon_starts_on_a_file_without_its_header_and_knows_everything(lived_in: Path) -> None:
    index = read_config(lived_in).paths.index
    index.write_bytes(bytes(100) + index.read_bytes()[100:])
    damaged = index.read_bytes()
    with DaemonProcess(lived_in) as daemon:
        status = daemon.wait_until("the pictures", lambda status: status.images == PICTURES, 60)
        assert [event.kind for event in status.events].count("index damaged") == 1
        rated = indexd(lived_in, "query", "rating:4..", "--paths").stdout.splitlines()
        assert sorted(rated) == sorted(str(lived_in / "output" / f"{number}.png") for number in (7, 9))
        assert indexd(lived_in, "query", "tag:keep", "--paths").stdout.splitlines() == [
            str(lived_in / "output" / "8.png")
        ]
        assert indexd(lived_in, "check", "--full").returncode == 0
    (aside,) = lived_in.glob("index.db.damaged-*Z")
    assert aside.read_bytes() == damaged


def test_the_daemon_comes_back_with_the_backup_when_the_file_is_cut_short(lived_in: Path) -> None:
    index = read_config(lived_in).paths.index
    index.write_bytes(index.read_bytes()[:PAGE_BYTES])
    with DaemonProcess(lived_in) as daemon:
        daemon.wait_until("the pictures", lambda status: status.images == PICTURES, 60)
        rated = indexd(lived_in, "query", "rating:5", "--paths").stdout.splitlines()
        assert rated == [str(lived_in / "output" / "7.png")]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL is POSIX")
def test_a_daemon_that_meets_damage_goes_down_loudly_and_the_next_one_mends_it(lived_in: Path) -> None:
    index = read_config(lived_in).paths.index
    size = index.stat().st_size // PAGE_BYTES
    daemon = DaemonProcess(lived_in)
    daemon.start()
    try:
        spoil(index, range(size // 3, size * 2 // 3))
        # Nothing of it is in memory yet: reading every picture meets it.
        indexd(lived_in, "query", "--prompt", "lighthouse", "-n", "500")
        indexd(lived_in, "reparse", "--all")
        assert daemon.wait(60) != 0
    finally:
        daemon.kill()
    assert suspect_marker(index).exists()
    with DaemonProcess(lived_in) as mended:
        mended.wait_until("the pictures", lambda status: status.images == PICTURES, 60)
        rated = indexd(lived_in, "query", "rating:5", "--json")
        assert [hit["image"]["path"] for hit in json.loads(rated.stdout)["hits"]] == [
            str(lived_in / "output" / "7.png")
        ]
    verify_index(index)


def verify_index(index: Path) -> None:
    assert not suspect_marker(index).exists()
    assert not index.with_name(f"{index.name}-wal").exists()
    verify_backup(index)
