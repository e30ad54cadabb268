"""Watched folders that go, come back, are replaced by empty or foreign ones, or send no events: nothing is forgotten."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from indexd.doctor.groups import run_checks
from tests.faults import disks
from tests.faults.conftest import WAIT_SECONDS, Launch
from tests.faults.doing import add_images, agree, rate, until_idle
from tests.faults.instant import make_home
from tests.system.loop.pictures import picture, write

if sys.platform != "linux":
    pytest.skip("these faults are injected with Linux system calls", allow_module_level=True)

FOREIGN = 30


@pytest.mark.parametrize("foreign", [None, 0, FOREIGN], ids=["removed", "empty", "foreign files"])
def test_a_folder_that_went_and_came_back(home: Path, launch: Launch, foreign: int | None) -> None:
    daemon = launch(home)
    first, *_ = add_images(home, 10)
    until_idle(daemon, images=10)
    rate(home, first, 5)
    (home / "pictures").rename(home / "away")
    if foreign is not None:
        for number in range(foreign):
            write(home / "pictures", f"foreign-{number}.png", picture(5000 + number))
        (home / "pictures").mkdir(exist_ok=True)
    daemon.wait_until(
        "the folder being offline", lambda status: any(not root.online for root in status.roots), WAIT_SECONDS
    )
    if foreign:
        status = daemon.wait_until("the foreign ones", lambda status: status.images == 10 + FOREIGN, WAIT_SECONDS)
        assert status.missing_files == 0
        # A new start judges anew, and by then the foreign files are in the index too.
        daemon.stop(60.0)
        daemon.start(WAIT_SECONDS)
        status = daemon.wait_until(
            "the folder being offline still",
            lambda status: any(root.last_reconcile and not root.online for root in status.roots),
            WAIT_SECONDS,
        )
        assert status.missing_files == 0
        assert "0 of 10 indexed files" in " ".join(root.reason for root in status.roots)
    shutil.rmtree(home / "pictures", ignore_errors=True)
    (home / "away").rename(home / "pictures")
    status = daemon.wait_until(
        "the folder being back", lambda status: all(root.online for root in status.roots), WAIT_SECONDS
    )
    add_images(home, 1, first=10)
    until_idle(daemon, images=11 + (foreign or 0))
    agree(daemon)


def test_a_folder_that_was_filled_anew_for_good_is_accepted_by_the_command_that_its_status_names(
    home: Path, launch: Launch
) -> None:
    daemon = launch(home)
    add_images(home, 4)
    until_idle(daemon, images=4)
    (home / "pictures").rename(home / "thrown-away")
    add_images(home, 6, first=100)
    status = daemon.wait_until(
        "the folder being offline with its new pictures",
        lambda status: status.images == 10 and not all(root.online for root in status.roots),
        WAIT_SECONDS,
    )
    command = f"indexd forget --under {home / 'pictures'} --offline"
    assert command in " ".join(root.reason for root in status.roots)
    told = [check for check in run_checks(home) if check.name == "folder" and check.state == "warning"]
    assert command in told[0].detail
    done = subprocess.run(
        [sys.executable, "-m", "indexd", "--home", str(home), *command.split()[1:], "--yes"],
        check=False,
        capture_output=True,
    )
    assert b"4 files and 4 images forgotten" in done.stdout, done.stderr
    daemon.wait_until("the folder being ours", lambda status: all(root.online for root in status.roots), WAIT_SECONDS)
    add_images(home, 1, first=200)
    until_idle(daemon, images=7)
    agree(daemon)


def test_an_unmounted_disk_and_what_is_written_into_its_bare_mount_point(place: Path, launch: Launch) -> None:
    home = make_home(place / "home")
    bare = home / "pictures"
    store = disks.Ext4(place / "image", place / "disk")
    try:
        store.unmount()
        store.folder = bare
        store.mount()
        daemon = launch(home)
        add_images(home, 6)
        until_idle(daemon, images=6)
        store.unmount()
        daemon.wait_until("offline", lambda status: any(not root.online for root in status.roots), WAIT_SECONDS)
        assert (status := daemon.status()) is not None
        assert (status.images, status.missing_files) == (6, 0)
        store.mount()
        daemon.wait_until("online", lambda status: all(root.online for root in status.roots), WAIT_SECONDS)
        add_images(home, 1, first=6)
        until_idle(daemon, images=7)
        agree(daemon)
    finally:
        store.unmount()


def test_a_folder_without_events_is_polled_and_says_so(home: Path, launch: Launch) -> None:
    settings = home / "indexd.toml"
    settings.write_text(settings.read_text("utf-8") + 'mode = "poll"\n', "utf-8")
    daemon = launch(home)
    add_images(home, 3)
    status = until_idle(daemon, images=3)
    (root,) = [root for root in status.roots if root.path == str(home / "pictures")]
    assert root.mode == "poll"
    assert root.reason
