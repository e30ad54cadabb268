"""An unusual stamp, a missing permission or a bug affects one file and delays no other."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from indexd.fs import safe_open
from indexd.fs.file_stamp import FileStamp
from indexd.watch import settle_probe
from indexd.watch.watch_filter import WatchFilter
from indexd.watch.watchers.watcher import Hint
from tests.unit.watch.manual_root import HandDriven, old_file, set_age

YEAR_2300 = 10_413_792_000


def far_future(path: Path) -> Path:
    path.write_bytes(b"image")
    os.utime(path, (YEAR_2300, YEAR_2300))
    if path.stat().st_mtime < YEAR_2300:
        pytest.skip("this file system keeps no such time")
    return path


@pytest.mark.parametrize("seconds", [YEAR_2300, 2**62, -(2**62)])
def test_the_time_of_a_stamp_fits_into_64_bits(seconds: int) -> None:
    fields = {"st_mtime_ns": seconds * 10**9, "st_ctime_ns": seconds * 10**9}
    stat = os.stat_result((0o100644, 1, 1, 1, 0, 0, 5, seconds, seconds, seconds), fields)
    for stamp in (FileStamp.from_stat(stat), FileStamp.of_unreadable(stat)):
        assert -(2**63) <= stamp.mtime_ns < 2**63


def test_a_file_of_the_year_2300_is_delivered_once(hand: HandDriven, folder: Path) -> None:
    far_future(folder / "future.png")
    old_file(folder / "now.png")
    hand.open()
    assert hand.take() == [b"future.png", b"now.png"]
    hand.run(3700)
    assert hand.status.last_reconcile is not None
    assert hand.take() == []
    hand.reopen()
    assert hand.take() == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no change time of a file's status")
def test_a_file_without_permission_is_delivered_when_its_permission_changes(
    hand: HandDriven, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(folder / "private.png")
    refuse(monkeypatch, b"private.png")
    hand.open()
    assert hand.take() == [b"private.png"]
    hand.run(3700)
    hand.reopen()
    assert hand.take() == []
    allow(monkeypatch)
    hand.run(3700)
    assert hand.take() == []  # its stamp says that nothing changed
    touch_status(folder / "private.png")
    hand.run(3700)
    assert hand.take() == [b"private.png"]
    hand.run(3700)
    assert hand.take() == []


def test_an_event_reports_the_new_permission(hand: HandDriven, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_file(folder / "private.png")
    refuse(monkeypatch, b"private.png")
    hand.open()
    hand.take()
    allow(monkeypatch)
    hand.say(Hint(b"private.png", "changed", is_folder=False))
    assert hand.take() == [b"private.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no change time of a file's status")
def test_an_indexed_file_that_becomes_unreadable_stays_indexed(
    hand: HandDriven, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(folder / "a.png")
    hand.open()
    assert hand.take() == [b"a.png"]
    refuse(monkeypatch, b"a.png")
    touch_status(folder / "a.png")
    hand.say(Hint(b"a.png", "changed", is_folder=False))
    hand.run(3700)
    assert hand.take() == []
    assert hand.present() == [b"a.png"]


def test_a_bug_during_a_scan_affects_one_file(
    hand: HandDriven, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    includes = WatchFilter.includes_file

    def fail(watch_filter: WatchFilter, rel: bytes, name: bytes) -> bool:
        if name == b"bad.png":
            raise OverflowError("int too big")
        return includes(watch_filter, rel, name)

    monkeypatch.setattr(WatchFilter, "includes_file", fail)
    old_file(folder / "bad.png")
    old_file(folder / "good.png")
    hand.open()
    assert hand.take() == [b"good.png"]
    assert f"skipping {folder / 'bad.png'}: a bug while comparing it" in caplog.text


@pytest.mark.parametrize("step", ["hint", "probe", "delivery"])
def test_a_bug_after_an_event_affects_one_file(
    step: str, hand: HandDriven, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hand.open()
    assert hand.rounds is not None
    place, name = {
        "hint": (hand.rounds, "_is_folder"),
        "probe": (hand.rounds._settler, "_probe"),
        "delivery": (hand.rounds._delivery, "is_in_flight"),
    }[step]
    works = getattr(place, name)

    def fail(first: bytes | Hint, *rest: object) -> object:
        if (first.rel if isinstance(first, Hint) else first) == b"bad.png":
            raise OverflowError("int too big")
        return works(first, *rest)

    monkeypatch.setattr(place, name, fail)
    for file in ("bad.png", "good.png"):
        set_age(old_file(folder / file), 3600)
    hand.say(*(Hint(rel, "renamed", is_folder=None) for rel in (b"bad.png", b"good.png")))
    assert hand.take() == [b"good.png"]
    assert "bad.png: a bug while" in caplog.text
    old_file(folder / "next.png")
    hand.run(60)
    assert b"next.png" in hand.take()


def touch_status(path: Path) -> None:
    """Change nothing but the time of the last status change, as chmod does."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.chmod(0o644)


_open_descriptor = safe_open.open_descriptor


def refuse(monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    """Root may open everything, so the refusal is played."""

    def refusing(path: bytes | str | Path) -> int:
        if os.fsencode(path).endswith(name):
            raise PermissionError(13, "Permission denied")
        return _open_descriptor(path)

    monkeypatch.setattr(settle_probe, "open_descriptor", refusing)


def allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle_probe, "open_descriptor", _open_descriptor)
