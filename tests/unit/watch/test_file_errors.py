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
from tests.unit.watch.manual_root import ManualRoot, old_file, set_age

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


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
def test_a_file_of_the_year_2300_is_delivered_once(manual_root: ManualRoot, folder: Path) -> None:
    far_future(folder / "future.png")
    old_file(folder / "now.png")
    manual_root.open()
    assert manual_root.take() == [b"future.png", b"now.png"]
    manual_root.run(3700)
    assert manual_root.status.last_reconcile is not None
    assert manual_root.take() == []
    manual_root.reopen()
    assert manual_root.take() == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no change time of a file's status")
def test_a_file_without_permission_is_delivered_when_its_permission_changes(
    manual_root: ManualRoot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(folder / "private.png")
    refuse(monkeypatch, b"private.png")
    manual_root.open()
    assert manual_root.take() == [b"private.png"]
    manual_root.run(3700)
    manual_root.reopen()
    assert manual_root.take() == []
    allow(monkeypatch)
    manual_root.run(3700)
    assert manual_root.take() == []  # its stamp says that nothing changed
    touch_status(folder / "private.png")
    manual_root.run(3700)
    assert manual_root.take() == [b"private.png"]
    manual_root.run(3700)
    assert manual_root.take() == []


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
def test_an_event_reports_the_new_permission(
    manual_root: ManualRoot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(folder / "private.png")
    refuse(monkeypatch, b"private.png")
    manual_root.open()
    manual_root.take()
    allow(monkeypatch)
    manual_root.say(Hint(b"private.png", "changed", is_folder=False))
    assert manual_root.take() == [b"private.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no change time of a file's status")
def test_an_indexed_file_that_becomes_unreadable_stays_indexed(
    manual_root: ManualRoot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(folder / "a.png")
    manual_root.open()
    assert manual_root.take() == [b"a.png"]
    refuse(monkeypatch, b"a.png")
    touch_status(folder / "a.png")
    manual_root.say(Hint(b"a.png", "changed", is_folder=False))
    manual_root.run(3700)
    assert manual_root.take() == []
    assert manual_root.present() == [b"a.png"]


def test_a_bug_during_a_scan_affects_one_file(
    manual_root: ManualRoot, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    includes = WatchFilter.includes_file

    def fail(watch_filter: WatchFilter, rel: bytes, name: bytes) -> bool:
        if name == b"bad.png":
            raise OverflowError("int too big")
        return includes(watch_filter, rel, name)

    monkeypatch.setattr(WatchFilter, "includes_file", fail)
    old_file(folder / "bad.png")
    old_file(folder / "good.png")
    manual_root.open()
    assert manual_root.take() == [b"good.png"]
    assert f"skipping {folder / 'bad.png'}: a bug while comparing it" in caplog.text


@pytest.mark.parametrize("step", ["hint", "probe", "delivery"])
def test_a_bug_after_an_event_affects_one_file(
    step: str, manual_root: ManualRoot, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manual_root.open()
    assert manual_root.loop is not None
    place, name = {
        "hint": (manual_root.loop, "_is_folder"),
        "probe": (manual_root.loop._settler, "_probe"),
        "delivery": (manual_root.loop._delivery, "is_in_flight"),
    }[step]
    works = getattr(place, name)

    def fail(first: bytes | Hint, *rest: object) -> object:
        if (first.rel if isinstance(first, Hint) else first) == b"bad.png":
            raise OverflowError("int too big")
        return works(first, *rest)

    monkeypatch.setattr(place, name, fail)
    for file in ("bad.png", "good.png"):
        set_age(old_file(folder / file), 3600)
    manual_root.say(*(Hint(rel, "renamed", is_folder=None) for rel in (b"bad.png", b"good.png")))
    assert manual_root.take() == [b"good.png"]
    assert "bad.png: a bug while" in caplog.text
    old_file(folder / "next.png")
    manual_root.run(60)
    assert b"next.png" in manual_root.take()


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
