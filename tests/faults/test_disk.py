"""Disks that fill up, run out of inodes, become read-only, fail, are slow, or lose their power."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from indexd.api.connect import connect
from indexd.api.operations import jobs
from indexd.config import read_config
from indexd.demo.daemon_process import is_settled
from indexd.errors import IndexdError, StorageFull
from indexd.store.sqlite.migrate import Migration, migrations, open_database
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.requests import JobListRequest, JobSelector
from tests.faults import disks
from tests.faults.conftest import WAIT_SECONDS, Launch
from tests.faults.doing import add_images, agree, job, rate, until_idle, until_paused
from tests.faults.instant import make_home
from tests.faults.shim import Shim

if sys.platform != "linux":
    pytest.skip("these faults are injected with Linux system calls", allow_module_level=True)

ROOM = "size=72m,nr_inodes=400"
FULL = pytest.mark.parametrize("fill", [disks.fill_bytes, disks.fill_inodes], ids=["bytes", "inodes"])
Fill = Callable[[Path], Path]


@FULL
def test_no_room_to_publish_pauses_the_queue_and_no_picture_is_lost(home: Path, launch: Launch, fill: Fill) -> None:
    with disks.tmpfs(home / "output", ROOM) as output:
        daemon = launch(home)
        filler = fill(output)
        job(home, "full", count=3)
        until_paused(daemon, "is full")
        assert list(output.glob("*.png")) == []
        empty(filler)
        until_idle(daemon, images=3, jobs=1)
        agree(daemon)


def test_no_room_for_the_index_is_told_and_everything_arrives_later(place: Path, launch: Launch) -> None:
    with disks.tmpfs(place / "small", "size=72m") as small:
        (place / "pictures").mkdir()
        home = make_home(small / "home", pictures=place / "pictures")
        (home / "pictures").symlink_to(place / "pictures")
        daemon = launch(home)
        (first,) = add_images(home, 1)
        until_idle(daemon, images=1)
        filler = disks.fill_bytes(small)
        add_images(home, 30, first=1)
        with pytest.raises(IndexdError, match="full"):
            for stars in (1, 2, 3, 4, 5) * 100:
                rate(home, place / "pictures" / first.name, stars)
        empty(filler)
        until_idle(daemon, images=31)
        rate(home, place / "pictures" / first.name, 5)


def test_no_inode_for_a_thumbnail_is_waited_for_while_everything_else_is_indexed(place: Path, launch: Launch) -> None:
    with disks.tmpfs(place / "small", "size=72m,nr_inodes=800") as small:
        (place / "pictures").mkdir()
        home = make_home(small / "home", pictures=place / "pictures")
        (home / "pictures").symlink_to(place / "pictures")
        daemon = launch(home)
        add_images(home, 1)
        until_idle(daemon, images=1)
        filler = disks.fill_inodes(small)
        add_images(home, 10, first=1)
        status = daemon.wait_until("their rows", lambda status: status.images == 11, WAIT_SECONDS)
        assert not is_settled(status)
        empty(filler)
        until_idle(daemon, images=11)
        assert len(list((home / "cache").rglob("*.webp"))) == 11


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Path]:
    """Where an index goes on a disk with room for it and little more."""
    with disks.tmpfs(tmp_path / "disk", "size=8m,nr_inodes=100") as disk:
        yield disk / "index.db"


@FULL
def test_no_room_to_make_an_index_or_to_change_its_form(index: Path, fill: Fill) -> None:
    filler = fill(index.parent)
    with pytest.raises(StorageFull):
        SqliteStore.open(index)
    empty(filler)
    with SqliteStore.open(index) as store:
        store.key_values.set("a", "b")
    filler = fill(index.parent)
    steps = [*migrations(), Migration(len(migrations()) + 1, "CREATE TABLE later (x)")]
    with pytest.raises(StorageFull):
        open_database(index, steps=steps)
    empty(filler)
    with SqliteStore.open(index) as store:
        assert store.key_values.get("a") == "b"
    open_database(index, steps=steps).close()


def test_an_output_folder_that_became_read_only_pauses_the_queue(home: Path, launch: Launch) -> None:
    with disks.tmpfs(home / "output", ROOM) as output:
        daemon = launch(home)
        until_idle(daemon, images=0)
        disks.remount(output, "ro")
        job(home, "fixed", count=2)
        until_paused(daemon, "read-only")
        disks.remount(output, "rw")
        until_idle(daemon, images=2, jobs=1)
        agree(daemon)


def test_an_index_on_a_read_only_disk_is_one_sentence(index: Path) -> None:
    SqliteStore.open(index).close()
    disks.remount(index.parent, "ro")
    with pytest.raises(IndexdError) as told:
        SqliteStore.open(index)
    assert str(index.parent) in str(told.value)
    disks.remount(index.parent, "rw")
    SqliteStore.open(index).close()


def test_a_picture_whose_sectors_fail_is_read_when_they_do_not(home: Path, launch: Launch) -> None:
    shim = Shim(home)
    shim.order("/anna-3.png", read=errno.EIO)
    daemon = launch(home, shim.environment)
    add_images(home, 8)
    daemon.wait_until("the others", lambda status: status.images == 7, WAIT_SECONDS)
    assert shim.injected > 0
    shim.mend()
    until_idle(daemon, images=8)
    agree(daemon)


def test_a_slow_disk_loses_nothing(home: Path, launch: Launch) -> None:
    shim = Shim(home)
    daemon = launch(home, shim.environment)
    shim.order(str(home), slow_ms=30)
    add_images(home, 10)
    job(home, "slow")
    until_idle(daemon, images=12, jobs=1)
    shim.mend()
    agree(daemon)


def test_after_a_power_cut_everything_acknowledged_is_there(place: Path, launch: Launch) -> None:
    disk = disks.Ext4(place / "image", place / "disk")
    try:
        home = make_home(place / "disk" / "home")
        os.sync()  # settings and models of yesterday; whatever comes from here on must see to itself
        daemon = launch(home)
        (first,) = add_images(home, 1)
        until_idle(daemon, images=1)
        rate(home, first, 5)
        rated = blake3(first.read_bytes()).digest()
        for number in range(4):
            job(home, f"job{number}", count=3)
            add_images(home, 3, first=10 * number + 1)
        daemon.wait_until("something done", lambda status: status.jobs.get("done", 0) >= 2, WAIT_SECONDS)
        made, accepted = _acknowledged(home)
        disk.cut_power()
        daemon.kill()
        disk.unmount()
        disk.mount()
        # Before anybody could make them again.
        assert {path: blake3(path.read_bytes()).hexdigest() for path in made} == made
        for path in (home / "pictures").glob("*.png"):
            if not path.stat().st_size:
                path.unlink()  # what its writer had not synced is not the daemon's to keep
        daemon = launch(home)
        daemon.wait_until(
            "the jobs",
            lambda status: status.jobs.get("done", 0) >= len(accepted) and is_settled(status),
            WAIT_SECONDS,
        )
        # Every picture that the ledger calls done is there with its bytes, every job was made to its end.
        agree(daemon)
        with SqliteStore.open(home / "index.db") as store:
            assert accepted <= {one.name for one in store.jobs.list()}
            assert (row := store.images.get_by_hash(rated)) is not None
            assert row.rating == 5
    finally:
        disk.unmount()


def _acknowledged(home: Path) -> tuple[dict[Path, str], set[str]]:
    """What the daemon says it has: the pictures that were made, with their hashes, and the jobs that were accepted."""
    remote = connect(read_config(home), need_daemon=True)
    try:
        listed = remote.call(jobs.list_jobs, JobListRequest(limit=1000)).jobs
        shown = [remote.call(jobs.show_job, JobSelector(which=str(job.id))) for job in listed]
        pictures = [one for job in shown for one in job.items if one.state == "done"]
    finally:
        remote.close()
    assert len(pictures) >= 6
    return {Path(one.path): one.hash or "" for one in pictures}, {job.name for job in listed}


def empty(filler: Path) -> None:
    """Free what was filled."""
    if filler.is_dir():
        for path in filler.iterdir():
            path.unlink()
        filler.rmdir()
    else:
        filler.unlink()
