"""A root driven by the test: events, scans, moves, lost events, and roots that disappear and return."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Literal

import pytest

from indexd.watch.roots import WatchedRoot, WatchOptions
from indexd.watch.watch_filter import WatchFilter
from indexd.watch.watchers.watcher import Hint, WatcherFailed
from tests.unit.watch.manual_root import ROOT_ID, ManualRoot, old_file, set_age


def test_existing_files_are_delivered_once_at_the_start(manual_root: ManualRoot, folder: Path) -> None:
    old_file(folder / "a" / "x.png")
    old_file(folder / "y.png")
    manual_root.open()
    assert manual_root.take() == [b"a/x.png", b"y.png"]
    manual_root.reopen()
    assert manual_root.take() == []


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
def test_a_file_event_is_delivered_without_a_scan(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.open()
    (folder / "x.png").write_bytes(b"picture")
    manual_root.say(Hint(b"x.png", "changed", is_folder=False))
    assert manual_root.take() == [b"x.png"]
    assert manual_root.status.lost_events == 0


def test_a_file_scanned_and_notified_at_once_is_delivered_once(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.stores = False
    manual_root.open()
    (folder / "d").mkdir()
    old_file(folder / "d" / "x.png")
    manual_root.say(Hint(b"d", "appeared", is_folder=True), Hint(b"d/x.png", "changed", is_folder=False))
    manual_root.say(Hint(b"d/x.png", "changed", is_folder=False))
    manual_root.loop.request_scan("test", "missed")  # type: ignore[union-attr]
    manual_root.run()
    assert manual_root.take() == [b"d/x.png"]


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
def test_a_change_is_delivered_again(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.open()
    for size in (1, 2, 3):
        (folder / "x.png").write_bytes(b"x" * size)
        manual_root.say(Hint(b"x.png", "changed", is_folder=False))
    assert manual_root.take() == [b"x.png"] * 3


def test_an_event_of_an_unchanged_file_delivers_nothing(manual_root: ManualRoot, folder: Path) -> None:
    old_file(folder / "x.png")
    manual_root.open()
    manual_root.reopen()
    manual_root.take()
    manual_root.say(Hint(b"x.png", "changed", is_folder=False))
    assert manual_root.take() == []


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
def test_a_failed_handler_gets_the_file_again_at_the_next_scan(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.open()
    manual_root.fails = True
    old_file(folder / "x.png")
    manual_root.say(Hint(b"x.png", "changed", is_folder=False))
    manual_root.fails = False
    assert manual_root.take() == [b"x.png"]
    assert manual_root.present() == []
    manual_root.run(60)
    assert (manual_root.take(), manual_root.present()) == ([b"x.png"], [b"x.png"])


def test_an_ignored_file_is_not_opened(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.open()
    (folder / "@eaDir").mkdir()
    for rel in ("x.png.tmp", "@eaDir/x.png", ".x.png"):
        (folder / rel).write_bytes(b"x")
    manual_root.say(
        Hint(b"x.png.tmp", "changed", is_folder=False),
        Hint(b"@eaDir", "appeared", is_folder=True),
        Hint(b"@eaDir/x.png", "appeared"),
        Hint(b".x.png", "changed"),
    )
    assert manual_root.take() == []


def test_a_folder_moved_into_the_root_is_scanned(manual_root: ManualRoot, folder: Path, tmp_path: Path) -> None:
    manual_root.open()
    for number in range(50):
        old_file(tmp_path / "tree" / f"{number % 7}" / "deep" / f"{number}.png")
    (tmp_path / "tree").rename(folder / "tree")
    manual_root.say(Hint(b"tree", "appeared"))
    assert len(manual_root.take()) == 50


def test_files_of_a_removed_folder_are_missing(manual_root: ManualRoot, folder: Path, tmp_path: Path) -> None:
    for name in ("d/x.png", "d/e/y.png", "dz.png"):
        old_file(folder / name)
    manual_root.open()
    (folder / "d").rename(tmp_path / "away")
    manual_root.say(Hint(b"d", "gone"))
    assert (manual_root.present(), manual_root.missing()) == ([b"dz.png"], [b"d/e/y.png", b"d/x.png"])


def test_a_thousand_removed_files_are_marked_at_once(manual_root: ManualRoot, folder: Path) -> None:
    for number in range(600):
        old_file(folder / "d" / f"{number}.png")
    manual_root.open()
    for number in range(599):
        (folder / "d" / f"{number}.png").unlink()
    manual_root.say(*(Hint(b"d/%d.png" % number, "gone") for number in range(599)))
    assert manual_root.present() == [b"d/599.png"]


def test_a_removal_event_is_verified(manual_root: ManualRoot, folder: Path) -> None:
    old_file(folder / "x.png")
    manual_root.open()
    manual_root.say(Hint(b"x.png", "gone"))
    assert (manual_root.present(), manual_root.missing()) == ([b"x.png"], [])


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
def test_a_renamed_file_is_not_read_again(manual_root: ManualRoot, folder: Path) -> None:
    old_file(folder / "x.png")
    manual_root.open()
    manual_root.take()
    (folder / "x.png").rename(folder / "y.png")
    manual_root.say(Hint(b"x.png", "gone", is_folder=False), Hint(b"y.png", "renamed", is_folder=False))
    assert (manual_root.take(), manual_root.present(), manual_root.missing()) == ([], [b"y.png"], [])
    assert manual_root.known.moves == [(b"x.png", b"y.png")]


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
def test_a_folder_renamed_while_unwatched_is_not_read_again(manual_root: ManualRoot, folder: Path) -> None:
    for number in range(5):
        old_file(folder / "old" / f"{number}.png", b"x" * (number + 1))
    manual_root.open()
    manual_root.take()
    (folder / "old").rename(folder / "new")
    manual_root.reopen()
    assert (manual_root.take(), manual_root.missing()) == ([], [])
    assert manual_root.present() == [b"new/%d.png" % number for number in range(5)]


def test_a_hard_link_is_a_file_of_its_own(manual_root: ManualRoot, folder: Path) -> None:
    old_file(folder / "x.png")
    manual_root.open()
    manual_root.take()
    os.link(folder / "x.png", folder / "y.png")
    manual_root.reopen()
    assert (manual_root.take(), manual_root.present()) == ([b"y.png"], [b"x.png", b"y.png"])


def test_a_file_that_returns_unchanged_is_not_read_again(manual_root: ManualRoot, folder: Path, tmp_path: Path) -> None:
    old_file(folder / "x.png")
    manual_root.open()
    manual_root.take()
    (folder / "x.png").rename(tmp_path / "x.png")
    manual_root.say(Hint(b"x.png", "gone", is_folder=False))
    assert manual_root.missing() == [b"x.png"]
    (tmp_path / "x.png").rename(folder / "x.png")
    manual_root.say(Hint(b"x.png", "renamed", is_folder=False))
    assert (manual_root.take(), manual_root.present(), manual_root.missing()) == ([], [b"x.png"], [])


def test_the_sweep_finds_missed_changes_and_reports_them(manual_root: ManualRoot, folder: Path) -> None:
    (folder / "d").mkdir()
    manual_root.open()
    old_file(folder / "d" / "x.png")
    old_file(folder / "new" / "y.png")
    manual_root.run(21)
    assert manual_root.take() == [b"d/x.png", b"new/y.png"]
    assert manual_root.status.lost_events == 2
    assert manual_root.kinds() == ["lost"]


def test_the_sweep_finds_a_removal_without_event(manual_root: ManualRoot, folder: Path) -> None:
    old_file(folder / "d" / "x.png")
    manual_root.open()
    (folder / "d" / "x.png").unlink()
    manual_root.run(21)
    assert manual_root.missing() == [b"d/x.png"]


def test_the_timed_scan_finds_a_change_without_event(manual_root: ManualRoot, folder: Path) -> None:
    path = old_file(folder / "x.png")
    manual_root.open()
    set_age(folder, 3600)
    manual_root.run(60)
    manual_root.take()
    path.write_bytes(b"another picture")
    set_age(path, 60)
    manual_root.run(100)
    assert manual_root.take() == []
    manual_root.run(3600)
    assert manual_root.take() == [b"x.png"]


def test_lost_events_lead_to_a_new_watcher_and_a_scan(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.open()
    manual_root.run(120)
    old_file(folder / "x.png")
    first = manual_root.watchers.current
    first.fail("events were lost")
    manual_root.run()
    assert first.closed
    assert manual_root.watchers.current is not first
    assert (manual_root.take(), manual_root.status.mode, manual_root.kinds()[0]) == ([b"x.png"], "native", "watcher")


def test_a_watcher_that_keeps_failing_is_restarted_with_pauses(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.open()
    opened = []
    for _ in range(6):
        manual_root.watchers.current.fail("broken")
        manual_root.run()
        assert (manual_root.status.mode, manual_root.status.reason) == ("poll", "broken")
        before = manual_root.now
        while manual_root.status.mode == "poll":
            manual_root.run(1)
        opened.append(manual_root.now - before)
    assert opened == sorted(opened)
    assert opened[-1] > 10


def test_a_watch_limit_leads_to_polling_with_a_reason_and_a_later_retry(manual_root: ManualRoot, folder: Path) -> None:
    old_file(folder / "x.png")
    manual_root.open(None, None, WatcherFailed("the system's limit is reached", permanent=True))
    assert (manual_root.status.mode, manual_root.status.reason) == ("poll", "the system's limit is reached")
    old_file(folder / "d" / "y.png")
    manual_root.run(11)
    assert manual_root.take() == [b"d/y.png", b"x.png"]
    assert manual_root.status.lost_events == 0
    manual_root.run(1000)
    assert manual_root.status.mode == "native"


def test_polling_finds_changed_files(manual_root: ManualRoot, folder: Path) -> None:
    old_file(folder / "x.png")
    manual_root.open(WatchedRoot(ROOT_ID, os.fsencode(folder), mode="poll"))
    assert manual_root.watchers.opened == []
    manual_root.take()
    (folder / "x.png").write_bytes(b"other")
    set_age(folder / "x.png", 60)
    manual_root.run(11)
    assert manual_root.take() == [b"x.png"]
    assert manual_root.status.reason == "as the settings say"


def test_a_cookie_without_an_event_leads_to_polling(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.answers_cookies = False
    manual_root.open()
    assert (manual_root.status.mode, manual_root.status.reason) == ("native", "events by script")
    manual_root.run(11)
    assert manual_root.status.mode == "poll"
    assert "no event came back" in manual_root.status.reason
    assert list(folder.iterdir()) == []


def test_a_cookie_with_an_event_keeps_the_watcher(manual_root: ManualRoot) -> None:
    manual_root.open()
    manual_root.run(60)
    assert (manual_root.status.mode, manual_root.status.reason) == ("native", "events by script")


def test_a_folder_that_refuses_a_cookie_is_reported(manual_root: ManualRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexd.watch.watchers.watcher_lifecycle.drop_cookie", lambda root: "read-only")
    manual_root.open()
    manual_root.run(60)
    assert manual_root.status.mode == "native"
    assert "read-only" in manual_root.status.reason


def test_an_absent_root_is_offline_and_is_found_later(manual_root: ManualRoot, folder: Path) -> None:
    folder.rmdir()
    manual_root.open()
    assert (manual_root.status.online, manual_root.status.reason) == (False, "the folder does not exist")
    assert manual_root.kinds() == ["offline"]
    old_file(folder / "x.png")
    manual_root.run(11)
    assert (manual_root.take(), manual_root.status.online, manual_root.kinds()) == (
        [b"x.png"],
        True,
        ["offline", "online"],
    )


def test_a_removed_root_is_offline_and_no_file_is_marked_missing(
    manual_root: ManualRoot, folder: Path, tmp_path: Path
) -> None:
    old_file(folder / "x.png")
    manual_root.open()
    folder.rename(tmp_path / "elsewhere")
    manual_root.say(Hint(b"x.png", "gone"))
    manual_root.watchers.current.fail("the folder itself was removed")
    manual_root.run(60)
    assert (manual_root.present(), manual_root.missing(), manual_root.status.online) == ([b"x.png"], [], False)
    (tmp_path / "elsewhere").rename(folder)
    manual_root.take()
    manual_root.run(60)
    assert (manual_root.status.online, manual_root.take(), manual_root.present()) == (True, [], [b"x.png"])


def test_an_empty_folder_at_the_root_is_offline_and_no_file_is_marked_missing(
    manual_root: ManualRoot, folder: Path, tmp_path: Path
) -> None:
    old_file(folder / "x.png")
    manual_root.open()
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    manual_root.run(60)
    assert (manual_root.present(), manual_root.missing(), manual_root.status.online) == ([b"x.png"], [], False)
    assert "in its place" in manual_root.status.reason
    manual_root.reopen()
    manual_root.run(60)
    assert (manual_root.missing(), manual_root.status.online) == ([], False)


def test_a_foreign_folder_at_the_root_is_reported_once(manual_root: ManualRoot, folder: Path, tmp_path: Path) -> None:
    old_file(folder / "x.png")
    manual_root.open()
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    manual_root.reopen()
    manual_root.run(60)
    (told,) = manual_root.events
    assert told[0] == "offline"
    assert "in its place (0 of 1 indexed files are there); nothing is marked missing" in told[1]
    folder.rmdir()
    (tmp_path / "elsewhere").rename(folder)
    manual_root.run(60)
    assert (manual_root.kinds()[-1], manual_root.status.online, manual_root.missing()) == ("online", True, [])


def test_files_in_an_unmounted_mount_point_are_indexed_and_none_is_marked_missing(
    manual_root: ManualRoot, folder: Path, tmp_path: Path
) -> None:
    for number in range(10):
        old_file(folder / f"{number}.png")
    manual_root.open()
    folder.rename(tmp_path / "elsewhere")
    manual_root.take()
    old_file(folder / "new.png")
    manual_root.run(60)
    assert (manual_root.take(), manual_root.missing(), len(manual_root.present())) == ([b"new.png"], [], 11)


@pytest.mark.parametrize("foreign", [4, 10, 30])
def test_many_foreign_files_in_an_unmounted_mount_point_mark_no_file_missing(
    manual_root: ManualRoot, folder: Path, tmp_path: Path, foreign: int
) -> None:
    for number in range(10):
        old_file(folder / f"{number}.png")
    manual_root.open(options=WatchOptions(reconcile_seconds=60.0))
    folder.rename(tmp_path / "elsewhere")
    for number in range(foreign):
        old_file(folder / f"foreign{number}.png")
    manual_root.run(600)
    assert (manual_root.missing(), manual_root.status.online, len(manual_root.present())) == ([], False, 10 + foreign)
    manual_root.reopen()
    manual_root.run(600)
    assert (manual_root.missing(), manual_root.status.online) == ([], False)
    assert "0 of 10 indexed files" in manual_root.status.reason
    folder.rename(tmp_path / "bare")
    (tmp_path / "elsewhere").rename(folder)
    manual_root.run(600)
    assert (manual_root.status.online, len(manual_root.present()), len(manual_root.missing())) == (True, 10, foreign)


def test_a_library_copied_into_an_empty_folder_is_adopted(
    manual_root: ManualRoot, folder: Path, tmp_path: Path
) -> None:
    for number in range(10):
        old_file(folder / f"{number}.png")
    manual_root.open(options=WatchOptions(reconcile_seconds=60.0))
    folder.rename(tmp_path / "elsewhere")
    for number in range(12):
        old_file(folder / f"foreign{number}.png")
    manual_root.run(600)
    assert manual_root.status.online is False
    for number in range(9):
        old_file(folder / f"{number}.png")
    manual_root.run(600)
    assert (manual_root.status.online, manual_root.missing()) == (True, [b"9.png"])


def test_the_same_disk_with_another_device_number_is_adopted(
    manual_root: ManualRoot, folder: Path, tmp_path: Path
) -> None:
    for number in range(10):
        old_file(folder / f"{number}.png")
    manual_root.open()
    before = manual_root.status.identity
    (folder / "9.png").unlink()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        path.rename(copy / path.name)
    folder.rmdir()
    copy.rename(folder)
    manual_root.run(60)
    assert (manual_root.missing(), manual_root.status.online) == ([b"9.png"], True)
    assert manual_root.status.identity not in (before, None)


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
def test_a_file_being_written_is_delivered_after_it_settles(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.open()
    with (folder / "x.png").open("wb") as writer:
        writer.write(b"half")
        writer.flush()
        manual_root.say(Hint(b"x.png", "changed", is_folder=False))
        manual_root.run(30)
        assert manual_root.take() == []
        assert manual_root.status.pending == 1
    manual_root.run(2)
    assert manual_root.take() == [b"x.png"]


def test_the_inbox_accepts_yaml_only_directly_inside(manual_root: ManualRoot, folder: Path) -> None:
    for rel in ("a.yaml", "b.yml", "c.txt", "accepted/d.yaml"):
        old_file(folder / rel)
    manual_root.open(WatchedRoot(ROOT_ID, os.fsencode(folder), "jobs", watch_filter=WatchFilter(purpose="jobs")))
    assert manual_root.take() == [b"a.yaml", b"b.yml"]
    manual_root.say(Hint(b"accepted", "appeared", is_folder=True), Hint(b"accepted/d.yaml", "renamed", is_folder=False))
    assert manual_root.take() == []


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
def test_an_inbox_file_of_the_same_name_is_a_new_job(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.stores = False
    manual_root.open(WatchedRoot(ROOT_ID, os.fsencode(folder), "jobs", watch_filter=WatchFilter(purpose="jobs")))
    for text in (b"kind: a", b"kind: bb"):
        (folder / "job.yaml").write_bytes(text)
        manual_root.say(Hint(b"job.yaml", "changed", is_folder=False))
        assert manual_root.take() == [b"job.yaml"]
        (folder / "job.yaml").rename(folder.parent / "accepted.yaml")
        manual_root.say(Hint(b"job.yaml", "gone", is_folder=False))


def test_a_requested_scan_reports_its_end(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.open()
    old_file(folder / "x.png")
    ticket = manual_root.loop.request_scan("test", "missed")  # type: ignore[union-attr]
    assert not ticket.is_set()
    manual_root.run()
    assert ticket.is_set()
    assert manual_root.take() == [b"x.png"]


def test_a_requested_scan_of_an_offline_root_does_not_wait(manual_root: ManualRoot, folder: Path) -> None:
    folder.rmdir()
    manual_root.open()
    ticket = manual_root.loop.request_scan("test", "missed")  # type: ignore[union-attr]
    manual_root.run()
    assert ticket.is_set()


def test_a_quiet_root_sleeps_long(manual_root: ManualRoot, folder: Path) -> None:
    """Idle cost is the number of rounds: one a sweep, nothing in between."""
    old_file(folder / "x.png")
    manual_root.open()
    manual_root.run(60)
    assert manual_root.loop is not None
    rounds, turn = 0, manual_root.loop.run_once

    def counted() -> float:
        nonlocal rounds
        rounds += 1
        return turn()

    manual_root.loop.run_once = counted  # type: ignore[method-assign]
    manual_root.run(600)
    assert rounds <= 600 / 20 * 4


def test_the_settings_can_disable_the_sweep(manual_root: ManualRoot, folder: Path) -> None:
    manual_root.open(None, WatchOptions(sweep_seconds=None, reconcile_seconds=None))
    old_file(folder / "x.png")
    manual_root.run(10_000)
    assert manual_root.take() == []


def test_an_unchanged_job_file_put_back_without_an_event_is_delivered_again(
    manual_root: ManualRoot, folder: Path, tmp_path: Path
) -> None:
    """It was refused because a model was not there; now it is, and the person moves the file back."""
    inbox = WatchedRoot(ROOT_ID, os.fsencode(folder), "jobs", "poll", WatchFilter(purpose="jobs"))
    manual_root.open(inbox)
    job = old_file(folder / "x.yaml")
    manual_root.run(11)
    assert manual_root.take() == [b"x.yaml"]
    job.rename(tmp_path / "x.yaml")
    manual_root.run(11)
    (tmp_path / "x.yaml").rename(job)
    manual_root.run(11)
    assert manual_root.take() == [b"x.yaml"]


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
def test_a_relocated_root_is_not_read_again(manual_root: ManualRoot, folder: Path) -> None:
    files = [old_file(folder / name, name.encode()) for name in ("a/x.png", "y.png", "back.png", "edited.png")]
    manual_root.open()
    assert len(manual_root.take()) == 4
    # As `relocate` leaves it: inodes unknown. The other disk keeps times to two seconds.
    blank = {rel: stamp._replace(inode=0) for rel, stamp in manual_root.known.present_stamps(ROOT_ID).items()}
    manual_root.known.present[ROOT_ID] = blank
    manual_root.known.mark_missing(ROOT_ID, [b"back.png"], 5.0)
    set_age(files[0], 3601)
    old_file(folder / "edited.png", b"another size")
    manual_root.reopen()
    assert manual_root.take() == [b"edited.png"]
    assert manual_root.missing() == []
    assert all(stamp.inode for stamp in manual_root.known.present_stamps(ROOT_ID).values())
    manual_root.reopen()
    assert manual_root.take() == []


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
@pytest.mark.parametrize(
    "text", [b"d/x.txt", b"d/x.json", b"d/x.swarm.json", b"d/x.civitai.info", b"d/x.xmp", b"d/x.png.xmp"]
)
def test_a_new_sidecar_file_delivers_its_image_again(manual_root: ManualRoot, folder: Path, text: bytes) -> None:
    (folder / "d").mkdir()
    old_file(folder / "d" / "x.png")
    old_file(folder / "d" / "y.png")
    manual_root.open()
    manual_root.take()
    (folder / os.fsdecode(text)).write_bytes(b"Steps: 20, Seed: 5")
    manual_root.say(Hint(text, "changed", is_folder=False))
    assert manual_root.take() == [b"d/x.png"]
    manual_root.say(Hint(b"d/z.txt", "changed", is_folder=False))
    (folder / os.fsdecode(text)).unlink()
    manual_root.say(Hint(text, "gone", is_folder=False))
    assert manual_root.take() == []


@pytest.mark.parametrize("mode", ["native", "poll"])
def test_a_scan_finds_sidecar_files_without_events(
    manual_root: ManualRoot, folder: Path, mode: Literal["native", "poll"]
) -> None:
    for name in ("x.png", "y.png", "z.png"):
        old_file(folder / name)
    root = WatchedRoot(ROOT_ID, os.fsencode(folder), mode=mode)
    manual_root.open(root)
    assert sorted(manual_root.take()) == [b"x.png", b"y.png", b"z.png"]
    manual_root.known.read_at = {b"x.png": time.time() - 100, b"y.png": time.time() + 100}
    for name in ("x.txt", "y.txt", "z.txt"):
        (folder / name).write_bytes(b"text")
    manual_root.loop.request_scan("test", "scan")  # type: ignore[union-attr]
    manual_root.run()
    assert manual_root.take() == [b"x.png"]
    manual_root.loop.request_scan("test", "scan")  # type: ignore[union-attr]
    manual_root.run()
    assert manual_root.take() == []
    os.utime(folder / "x.txt", (time.time() - 10, time.time() - 10))
    manual_root.loop.request_scan("test", "scan")  # type: ignore[union-attr]
    manual_root.run()
    assert manual_root.take() == [b"x.png"]
    manual_root.reopen()
    assert manual_root.take() == [b"x.png"]


def test_a_scan_delivers_an_image_with_metadata_for_a_new_xmp_sidecar_only(
    manual_root: ManualRoot, folder: Path
) -> None:
    for name in ("x.png", "y.png"):
        old_file(folder / name)
    manual_root.open()
    manual_root.take()
    manual_root.known.read_at = dict.fromkeys((b"x.png", b"y.png"), time.time() - 100)
    manual_root.known.with_metadata = {b"x.png", b"y.png"}
    (folder / "x.png.xmp").write_bytes(b"<x/>")
    (folder / "y.txt").write_bytes(b"text")
    manual_root.loop.request_scan("test", "scan")  # type: ignore[union-attr]
    manual_root.run()
    assert manual_root.take() == [b"x.png"]


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="only Linux tells that a writer is done; elsewhere a new file waits until it settles",
)
def test_a_sidecar_file_delivers_a_reported_image_before_it_is_indexed_and_no_unknown_one(
    manual_root: ManualRoot, folder: Path
) -> None:
    manual_root.stores = False
    manual_root.open()
    (folder / "x.png").write_bytes(b"picture")
    manual_root.say(Hint(b"x.png", "changed", is_folder=False))
    (folder / "x.txt").write_bytes(b"text")
    manual_root.say(Hint(b"x.txt", "changed", is_folder=False))
    assert manual_root.take() == [b"x.png", b"x.png"]
    (folder / "y.PNG").write_bytes(b"picture")
    (folder / "y.txt").write_bytes(b"text")
    manual_root.say(Hint(b"y.txt", "changed", is_folder=False))
    assert manual_root.take() == []


def test_a_changed_folder_log_delivers_its_newest_images_again(manual_root: ManualRoot, folder: Path) -> None:
    for name in ("x.png", "y.png", "z.png"):
        old_file(folder / name)
    manual_root.open()
    manual_root.take()
    (folder / "log.html").write_text(
        "<a href='x.png'>1</a><a href=\"../y.png\">2</a><a href='z.png'>3</a><a href='gone.png'>"
    )
    manual_root.say(Hint(b"log.html", "renamed", is_folder=False))
    assert manual_root.take() == [b"x.png", b"z.png"]


def test_a_sidecar_file_of_an_excluded_image_delivers_nothing(manual_root: ManualRoot, folder: Path) -> None:
    old_file(folder / "x.png")
    manual_root.open(WatchedRoot(ROOT_ID, os.fsencode(folder), watch_filter=WatchFilter(exclude=["x.png"])))
    (folder / "x.txt").write_bytes(b"a")
    manual_root.say(Hint(b"x.txt", "changed", is_folder=False))
    assert manual_root.take() == []
