"""A folder that is replaced during its scan, or whose scan was interrupted: files are never assigned to the wrong folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexd.watch.roots import WatchOptions
from indexd.watch.watchers.watcher import Hint
from tests.unit.watch.manual_root import ManualRoot, old_file

OURS, FOREIGN = 10, 30
# A comparison has fewer steps than this; after each of them something may happen.
STEPS = range(5)
OPTIONS = WatchOptions(reconcile_seconds=60.0)


@pytest.fixture
def library(manual_root: ManualRoot, folder: Path) -> ManualRoot:
    """A root whose files are indexed."""
    for number in range(OURS):
        old_file(folder / f"{number}.png")
    return manual_root.open(options=OPTIONS)


def exchange(folder: Path, away: Path) -> None:
    """Put a foreign folder in the place of the right one."""
    folder.rename(away)
    for number in range(FOREIGN):
        old_file(folder / f"foreign{number}.png")


def bring_back(folder: Path, away: Path) -> None:
    folder.rename(away.with_name("foreign"))
    away.rename(folder)


def begin_comparing(manual_root: ManualRoot, steps: int) -> None:
    """Ask for a comparison, and do so many rounds of it."""
    assert manual_root.loop is not None
    manual_root.loop.request_scan("test", "missed")
    for _ in range(steps):
        manual_root.loop.run_once()


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("pause", [0.0, 30.0], ids=["unnoticed at first", "noticed at once"])
def test_replacing_a_folder_during_its_scan_marks_no_file_missing(
    library: ManualRoot, folder: Path, tmp_path: Path, steps: int, pause: float
) -> None:
    begin_comparing(library, steps)
    exchange(folder, tmp_path / "away")
    library.now += pause
    library.run(600)
    assert (library.missing(), library.status.online) == ([], False)
    bring_back(folder, tmp_path / "away")
    library.run(600)
    assert (library.status.online, len(library.present()), len(library.missing())) == (True, OURS, FOREIGN)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("pause", [0.0, 30.0], ids=["unnoticed at first", "noticed at once"])
def test_the_original_folder_is_adopted_when_it_returns_during_the_scan_of_a_foreign_one(
    library: ManualRoot, folder: Path, tmp_path: Path, steps: int, pause: float
) -> None:
    exchange(folder, tmp_path / "away")
    library.run(600)
    begin_comparing(library, steps)
    bring_back(folder, tmp_path / "away")
    library.now += pause
    library.run(600)
    assert (library.status.online, len(library.present()), len(library.missing())) == (True, OURS, FOREIGN)


@pytest.mark.parametrize("steps", STEPS)
def test_stopping_during_the_scan_of_a_foreign_folder_does_not_adopt_it(
    library: ManualRoot, folder: Path, tmp_path: Path, steps: int
) -> None:
    assert library.loop is not None
    exchange(folder, tmp_path / "away")
    library.now += 30
    for _ in range(steps):
        library.loop.run_once()
    library.reopen()
    library.run(600)
    assert (library.missing(), library.status.online) == ([], False)
    bring_back(folder, tmp_path / "away")
    library.run(600)
    assert (library.status.online, len(library.present()), len(library.missing())) == (True, OURS, FOREIGN)


def test_waiting_for_a_scan_continues_while_the_folder_is_replaced(
    library: ManualRoot, folder: Path, tmp_path: Path
) -> None:
    assert library.loop is not None
    exchange(folder, tmp_path / "away")
    ticket = library.loop.request_scan("test", "missed")
    library.loop.run_once()
    bring_back(folder, tmp_path / "away")
    library.now += 30
    library.loop.run_once()
    assert not ticket.is_set()
    library.run(60)
    assert ticket.is_set()
    assert library.status.online


@pytest.mark.parametrize("noticed", [True, False], ids=["it was seen to be away", "it was back before anybody looked"])
def test_a_file_not_found_while_its_folder_was_away_is_delivered_again(
    library: ManualRoot, folder: Path, tmp_path: Path, noticed: bool
) -> None:
    library.stores = False
    old_file(folder / "new.png")
    library.say(Hint(b"new.png", "changed", is_folder=False))
    library.take()
    folder.rename(tmp_path / "away")
    if noticed:
        library.run(30)
    (tmp_path / "away").rename(folder)
    library.stores = True
    library.watchers.current.fail("the folder itself was removed, moved or unmounted")
    library.run(60)
    assert (library.take(), b"new.png" in library.present()) == ([b"new.png"], True)
