"""A share on the network: no events of what others do there, a server that goes away, one that hangs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.watch.watchers.watcher import Hint, open_watcher
from tests.faults.conftest import WAIT_SECONDS, Launch
from tests.faults.doing import agree, rate, until_idle
from tests.faults.instant import make_home
from tests.faults.share import KIND, Share, share
from tests.system.loop.pictures import picture, write

if sys.platform != "linux":
    pytest.skip("these faults are injected with Linux system calls", allow_module_level=True)


@pytest.fixture
def mounted(place: Path) -> Iterator[Share]:
    with share(place / "other-machine", place / "home" / "pictures") as made:
        yield made


def arrive(mounted: Share, count: int, first: int = 0) -> list[Path]:
    """Pictures that another machine writes to its disk, as they are called here."""
    for number in range(first, first + count):
        write(mounted.behind, f"anna-{number}.png", picture(number))
    return [mounted.folder / f"anna-{number}.png" for number in range(first, first + count)]


def test_nothing_tells_of_what_another_machine_does(mounted: Share) -> None:
    heard: dict[bytes, Hint] = {}
    watcher = open_watcher(os.fsencode(mounted.folder), lambda _rel: True)
    watcher.start(heard.update, lambda _failure: None)
    try:
        (path,) = arrive(mounted, 1)
        assert path.read_bytes() == (mounted.behind / path.name).read_bytes()
        time.sleep(0.5)
        assert heard == {}
    finally:
        watcher.close()


def test_what_others_do_on_a_share_is_found_without_events(mounted: Share, place: Path, launch: Launch) -> None:
    home = make_home(place / "home")
    daemon = launch(home)
    first, second, third = arrive(mounted, 3)
    status = until_idle(daemon, images=3)
    (root,) = [root for root in status.roots if root.path == str(mounted.folder)]
    assert (root.mode, root.reason) == ("poll", f"changes that others make on {KIND.decode()} give no events")
    (mounted.behind / second.name).unlink()
    (mounted.behind / third.name).rename(mounted.behind / "renamed.png")
    write(mounted.behind, first.name, picture(100))
    arrive(mounted, 1, first=3)
    status = daemon.wait_until(
        "all of that", lambda status: status.images == 5 and status.missing_files == 2, WAIT_SECONDS
    )
    agree(daemon)


def test_a_share_whose_server_goes_away_is_offline_and_nothing_is_forgotten(
    mounted: Share, place: Path, launch: Launch
) -> None:
    home = make_home(place / "home")
    daemon = launch(home)
    first, *_ = arrive(mounted, 4)
    until_idle(daemon, images=4)
    rate(home, first, 5)
    mounted.kill_server()
    status = daemon.wait_until("offline", lambda status: any(not root.online for root in status.roots), WAIT_SECONDS)
    assert (status.images, status.missing_files) == (4, 0)
    assert "cannot be read" in " ".join(root.reason for root in status.roots if not root.online)
    mounted.unmount()
    mounted.mount()
    daemon.wait_until("online", lambda status: all(root.online for root in status.roots), WAIT_SECONDS)
    arrive(mounted, 1, first=4)
    status = until_idle(daemon, images=5)
    assert status.missing_files == 0
    agree(daemon)


def test_a_share_that_hangs_holds_up_nothing_but_itself(mounted: Share, place: Path, launch: Launch) -> None:
    home = make_home(place / "home")
    daemon = launch(home)
    arrive(mounted, 3)
    until_idle(daemon, images=3)
    mounted.freeze()
    time.sleep(1.0)  # three times the pause between two looks: it is asked for in this time
    write(home / "output", "local.png", picture(500))
    daemon.wait_until("the picture of the disk", lambda status: status.images == 4, WAIT_SECONDS)
    arrive(mounted, 1, first=3)
    mounted.thaw()
    until_idle(daemon, images=5)
    agree(daemon)


def test_a_daemon_ends_in_time_beside_a_share_that_hangs(mounted: Share, place: Path, launch: Launch) -> None:
    home = make_home(place / "home")
    daemon = launch(home)
    arrive(mounted, 1)
    until_idle(daemon, images=1)
    mounted.freeze()
    time.sleep(1.0)
    daemon.stop(60.0)
    assert daemon.wait(1.0) == 0, daemon.exit_report()
    mounted.thaw()
    daemon.start(WAIT_SECONDS)
    until_idle(daemon, images=1)
    agree(daemon)
