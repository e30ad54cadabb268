"""A root driven by the test: events, scans, moves, lost events, and roots that disappear and return."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

import pytest

from indexd.watch.roots import WatchedRoot, WatchOptions
from indexd.watch.watch_filter import WatchFilter
from indexd.watch.watchers.watcher import Hint, WatcherFailed
from tests.unit.watch.manual_root import ROOT_ID, HandDriven, old_file, set_age


def test_existing_files_are_delivered_once_at_the_start(hand: HandDriven, folder: Path) -> None:
    old_file(folder / "a" / "x.png")
    old_file(folder / "y.png")
    hand.open()
    assert hand.take() == [b"a/x.png", b"y.png"]
    hand.reopen()
    assert hand.take() == []


def test_a_file_event_is_delivered_without_a_scan(hand: HandDriven, folder: Path) -> None:
    hand.open()
    (folder / "x.png").write_bytes(b"picture")
    hand.say(Hint(b"x.png", "changed", is_folder=False))
    assert hand.take() == [b"x.png"]
    assert hand.status.lost_events == 0


def test_a_file_scanned_and_notified_at_once_is_delivered_once(hand: HandDriven, folder: Path) -> None:
    hand.stores = False
    hand.open()
    (folder / "d").mkdir()
    old_file(folder / "d" / "x.png")
    hand.say(Hint(b"d", "appeared", is_folder=True), Hint(b"d/x.png", "changed", is_folder=False))
    hand.say(Hint(b"d/x.png", "changed", is_folder=False))
    hand.rounds.request_scan("test", "missed")  # type: ignore[union-attr]
    hand.run()
    assert hand.take() == [b"d/x.png"]


def test_a_change_is_delivered_again(hand: HandDriven, folder: Path) -> None:
    hand.open()
    for size in (1, 2, 3):
        (folder / "x.png").write_bytes(b"x" * size)
        hand.say(Hint(b"x.png", "changed", is_folder=False))
    assert hand.take() == [b"x.png"] * 3


def test_an_event_of_an_unchanged_file_delivers_nothing(hand: HandDriven, folder: Path) -> None:
    old_file(folder / "x.png")
    hand.open()
    hand.reopen()
    hand.take()
    hand.say(Hint(b"x.png", "changed", is_folder=False))
    assert hand.take() == []


def test_a_failed_handler_gets_the_file_again_at_the_next_scan(hand: HandDriven, folder: Path) -> None:
    hand.open()
    hand.fails = True
    old_file(folder / "x.png")
    hand.say(Hint(b"x.png", "changed", is_folder=False))
    hand.fails = False
    assert hand.take() == [b"x.png"]
    assert hand.present() == []
    hand.run(60)
    assert (hand.take(), hand.present()) == ([b"x.png"], [b"x.png"])


def test_an_ignored_file_is_not_opened(hand: HandDriven, folder: Path) -> None:
    hand.open()
    (folder / "@eaDir").mkdir()
    for rel in ("x.png.tmp", "@eaDir/x.png", ".x.png"):
        (folder / rel).write_bytes(b"x")
    hand.say(
        Hint(b"x.png.tmp", "changed", is_folder=False),
        Hint(b"@eaDir", "appeared", is_folder=True),
        Hint(b"@eaDir/x.png", "appeared"),
        Hint(b".x.png", "changed"),
    )
    assert hand.take() == []


def test_a_folder_moved_into_the_root_is_scanned(hand: HandDriven, folder: Path, tmp_path: Path) -> None:
    hand.open()
    for number in range(50):
        old_file(tmp_path / "tree" / f"{number % 7}" / "deep" / f"{number}.png")
    (tmp_path / "tree").rename(folder / "tree")
    hand.say(Hint(b"tree", "appeared"))
    assert len(hand.take()) == 50


def test_files_of_a_removed_folder_are_missing(hand: HandDriven, folder: Path, tmp_path: Path) -> None:
    for name in ("d/x.png", "d/e/y.png", "dz.png"):
        old_file(folder / name)
    hand.open()
    (folder / "d").rename(tmp_path / "away")
    hand.say(Hint(b"d", "gone"))
    assert (hand.present(), hand.missing()) == ([b"dz.png"], [b"d/e/y.png", b"d/x.png"])


def test_a_thousand_removed_files_are_marked_at_once(hand: HandDriven, folder: Path) -> None:
    for number in range(600):
        old_file(folder / "d" / f"{number}.png")
    hand.open()
    for number in range(599):
        (folder / "d" / f"{number}.png").unlink()
    hand.say(*(Hint(b"d/%d.png" % number, "gone") for number in range(599)))
    assert hand.present() == [b"d/599.png"]


def test_a_removal_event_is_verified(hand: HandDriven, folder: Path) -> None:
    old_file(folder / "x.png")
    hand.open()
    hand.say(Hint(b"x.png", "gone"))
    assert (hand.present(), hand.missing()) == ([b"x.png"], [])


def test_a_renamed_file_is_not_read_again(hand: HandDriven, folder: Path) -> None:
    old_file(folder / "x.png")
    hand.open()
    hand.take()
    (folder / "x.png").rename(folder / "y.png")
    hand.say(Hint(b"x.png", "gone", is_folder=False), Hint(b"y.png", "renamed", is_folder=False))
    assert (hand.take(), hand.present(), hand.missing()) == ([], [b"y.png"], [])
    assert hand.known.moves == [(b"x.png", b"y.png")]


def test_a_folder_renamed_while_unwatched_is_not_read_again(hand: HandDriven, folder: Path) -> None:
    for number in range(5):
        old_file(folder / "old" / f"{number}.png", b"x" * (number + 1))
    hand.open()
    hand.take()
    (folder / "old").rename(folder / "new")
    hand.reopen()
    assert (hand.take(), hand.missing()) == ([], [])
    assert hand.present() == [b"new/%d.png" % number for number in range(5)]


def test_a_hard_link_is_a_file_of_its_own(hand: HandDriven, folder: Path) -> None:
    old_file(folder / "x.png")
    hand.open()
    hand.take()
    os.link(folder / "x.png", folder / "y.png")
    hand.reopen()
    assert (hand.take(), hand.present()) == ([b"y.png"], [b"x.png", b"y.png"])


def test_a_file_that_returns_unchanged_is_not_read_again(hand: HandDriven, folder: Path, tmp_path: Path) -> None:
    old_file(folder / "x.png")
    hand.open()
    hand.take()
    (folder / "x.png").rename(tmp_path / "x.png")
    hand.say(Hint(b"x.png", "gone", is_folder=False))
    assert hand.missing() == [b"x.png"]
    (tmp_path / "x.png").rename(folder / "x.png")
    hand.say(Hint(b"x.png", "renamed", is_folder=False))
    assert (hand.take(), hand.present(), hand.missing()) == ([], [b"x.png"], [])


def test_the_sweep_finds_missed_changes_and_reports_them(hand: HandDriven, folder: Path) -> None:
    (folder / "d").mkdir()
    hand.open()
    old_file(folder / "d" / "x.png")
    old_file(folder / "new" / "y.png")
    hand.run(21)
    assert hand.take() == [b"d/x.png", b"new/y.png"]
    assert hand.status.lost_events == 2
    assert hand.kinds() == ["lost"]


def test_the_sweep_finds_a_removal_without_event(hand: HandDriven, folder: Path) -> None:
    old_file(folder / "d" / "x.png")
    hand.open()
    (folder / "d" / "x.png").unlink()
    hand.run(21)
    assert hand.missing() == [b"d/x.png"]


def test_the_timed_scan_finds_a_change_without_event(hand: HandDriven, folder: Path) -> None:
    path = old_file(folder / "x.png")
    hand.open()
    set_age(folder, 3600)
    hand.run(60)
    hand.take()
    path.write_bytes(b"another picture")
    set_age(path, 60)
    hand.run(100)
    assert hand.take() == []
    hand.run(3600)
    assert hand.take() == [b"x.png"]


def test_lost_events_lead_to_a_new_watcher_and_a_scan(hand: HandDriven, folder: Path) -> None:
    hand.open()
    hand.run(120)
    old_file(folder / "x.png")
    first = hand.watchers.current
    first.fail("events were lost")
    hand.run()
    assert first.closed
    assert hand.watchers.current is not first
    assert (hand.take(), hand.status.mode, hand.kinds()[0]) == ([b"x.png"], "native", "watcher")


def test_a_watcher_that_keeps_failing_is_restarted_with_pauses(hand: HandDriven, folder: Path) -> None:
    hand.open()
    opened = []
    for _ in range(6):
        hand.watchers.current.fail("broken")
        hand.run()
        assert (hand.status.mode, hand.status.reason) == ("poll", "broken")
        before = hand.now
        while hand.status.mode == "poll":
            hand.run(1)
        opened.append(hand.now - before)
    assert opened == sorted(opened)
    assert opened[-1] > 10


def test_a_watch_limit_leads_to_polling_with_a_reason_and_a_later_retry(hand: HandDriven, folder: Path) -> None:
    old_file(folder / "x.png")
    hand.open(None, None, WatcherFailed("the system's limit is reached", permanent=True))
    assert (hand.status.mode, hand.status.reason) == ("poll", "the system's limit is reached")
    old_file(folder / "d" / "y.png")
    hand.run(11)
    assert hand.take() == [b"d/y.png", b"x.png"]
    assert hand.status.lost_events == 0
    hand.run(1000)
    assert hand.status.mode == "native"


def test_polling_finds_changed_files(hand: HandDriven, folder: Path) -> None:
    old_file(folder / "x.png")
    hand.open(WatchedRoot(ROOT_ID, os.fsencode(folder), mode="poll"))
    assert hand.watchers.opened == []
    hand.take()
    (folder / "x.png").write_bytes(b"other")
    set_age(folder / "x.png", 60)
    hand.run(11)
    assert hand.take() == [b"x.png"]
    assert hand.status.reason == "as the settings say"


def test_a_cookie_without_an_event_leads_to_polling(hand: HandDriven, folder: Path) -> None:
    hand.answers_cookies = False
    hand.open()
    assert (hand.status.mode, hand.status.reason) == ("native", "events by script")
    hand.run(11)
    assert hand.status.mode == "poll"
    assert "no event came back" in hand.status.reason
    assert list(folder.iterdir()) == []


def test_a_cookie_with_an_event_keeps_the_watcher(hand: HandDriven) -> None:
    hand.open()
    hand.run(60)
    assert (hand.status.mode, hand.status.reason) == ("native", "events by script")


def test_a_folder_that_refuses_a_cookie_is_reported(hand: HandDriven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexd.watch.watchers.watcher_lifecycle.drop_cookie", lambda root: "read-only")
    hand.open()
    hand.run(60)
    assert hand.status.mode == "native"
    assert "read-only" in hand.status.reason


def test_an_absent_root_is_offline_and_is_found_later(hand: HandDriven, folder: Path) -> None:
    folder.rmdir()
    hand.open()
    assert (hand.status.online, hand.status.reason) == (False, "the folder does not exist")
    assert hand.kinds() == ["offline"]
    old_file(folder / "x.png")
    hand.run(11)
    assert (hand.take(), hand.status.online, hand.kinds()) == ([b"x.png"], True, ["offline", "online"])


def test_a_removed_root_is_offline_and_no_file_is_marked_missing(
    hand: HandDriven, folder: Path, tmp_path: Path
) -> None:
    old_file(folder / "x.png")
    hand.open()
    folder.rename(tmp_path / "elsewhere")
    hand.say(Hint(b"x.png", "gone"))
    hand.watchers.current.fail("the folder itself was removed")
    hand.run(60)
    assert (hand.present(), hand.missing(), hand.status.online) == ([b"x.png"], [], False)
    (tmp_path / "elsewhere").rename(folder)
    hand.take()
    hand.run(60)
    assert (hand.status.online, hand.take(), hand.present()) == (True, [], [b"x.png"])


def test_an_empty_folder_at_the_root_is_offline_and_no_file_is_marked_missing(
    hand: HandDriven, folder: Path, tmp_path: Path
) -> None:
    old_file(folder / "x.png")
    hand.open()
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    hand.run(60)
    assert (hand.present(), hand.missing(), hand.status.online) == ([b"x.png"], [], False)
    assert "in its place" in hand.status.reason
    hand.reopen()
    hand.run(60)
    assert (hand.missing(), hand.status.online) == ([], False)


def test_a_foreign_folder_at_the_root_is_reported_once(hand: HandDriven, folder: Path, tmp_path: Path) -> None:
    old_file(folder / "x.png")
    hand.open()
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    hand.reopen()
    hand.run(60)
    (told,) = hand.events
    assert told[0] == "offline"
    assert "in its place (0 of 1 indexed files are there); nothing is marked missing" in told[1]
    folder.rmdir()
    (tmp_path / "elsewhere").rename(folder)
    hand.run(60)
    assert (hand.kinds()[-1], hand.status.online, hand.missing()) == ("online", True, [])


def test_files_in_an_unmounted_mount_point_are_indexed_and_none_is_marked_missing(
    hand: HandDriven, folder: Path, tmp_path: Path
) -> None:
    for number in range(10):
        old_file(folder / f"{number}.png")
    hand.open()
    folder.rename(tmp_path / "elsewhere")
    hand.take()
    old_file(folder / "new.png")
    hand.run(60)
    assert (hand.take(), hand.missing(), len(hand.present())) == ([b"new.png"], [], 11)


@pytest.mark.parametrize("foreign", [4, 10, 30])
def test_many_foreign_files_in_an_unmounted_mount_point_mark_no_file_missing(
    hand: HandDriven, folder: Path, tmp_path: Path, foreign: int
) -> None:
    for number in range(10):
        old_file(folder / f"{number}.png")
    hand.open(options=WatchOptions(reconcile_seconds=60.0))
    folder.rename(tmp_path / "elsewhere")
    for number in range(foreign):
        old_file(folder / f"foreign{number}.png")
    hand.run(600)
    assert (hand.missing(), hand.status.online, len(hand.present())) == ([], False, 10 + foreign)
    hand.reopen()
    hand.run(600)
    assert (hand.missing(), hand.status.online) == ([], False)
    assert "0 of 10 indexed files" in hand.status.reason
    folder.rename(tmp_path / "bare")
    (tmp_path / "elsewhere").rename(folder)
    hand.run(600)
    assert (hand.status.online, len(hand.present()), len(hand.missing())) == (True, 10, foreign)


def test_a_library_copied_into_an_empty_folder_is_adopted(hand: HandDriven, folder: Path, tmp_path: Path) -> None:
    for number in range(10):
        old_file(folder / f"{number}.png")
    hand.open(options=WatchOptions(reconcile_seconds=60.0))
    folder.rename(tmp_path / "elsewhere")
    for number in range(12):
        old_file(folder / f"foreign{number}.png")
    hand.run(600)
    assert hand.status.online is False
    for number in range(9):
        old_file(folder / f"{number}.png")
    hand.run(600)
    assert (hand.status.online, hand.missing()) == (True, [b"9.png"])


def test_the_same_disk_with_another_device_number_is_adopted(hand: HandDriven, folder: Path, tmp_path: Path) -> None:
    for number in range(10):
        old_file(folder / f"{number}.png")
    hand.open()
    before = hand.status.identity
    (folder / "9.png").unlink()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        path.rename(copy / path.name)
    folder.rmdir()
    copy.rename(folder)
    hand.run(60)
    assert (hand.missing(), hand.status.online) == ([b"9.png"], True)
    assert hand.status.identity not in (before, None)


def test_a_file_being_written_is_delivered_after_it_settles(hand: HandDriven, folder: Path) -> None:
    hand.open()
    with (folder / "x.png").open("wb") as writer:
        writer.write(b"half")
        writer.flush()
        hand.say(Hint(b"x.png", "changed", is_folder=False))
        hand.run(30)
        assert hand.take() == []
        assert hand.status.pending == 1
    hand.run(2)
    assert hand.take() == [b"x.png"]


def test_the_inbox_accepts_yaml_only_directly_inside(hand: HandDriven, folder: Path) -> None:
    for rel in ("a.yaml", "b.yml", "c.txt", "accepted/d.yaml"):
        old_file(folder / rel)
    hand.open(WatchedRoot(ROOT_ID, os.fsencode(folder), "jobs", watch_filter=WatchFilter(purpose="jobs")))
    assert hand.take() == [b"a.yaml", b"b.yml"]
    hand.say(Hint(b"accepted", "appeared", is_folder=True), Hint(b"accepted/d.yaml", "renamed", is_folder=False))
    assert hand.take() == []


def test_an_inbox_file_of_the_same_name_is_a_new_job(hand: HandDriven, folder: Path) -> None:
    hand.stores = False
    hand.open(WatchedRoot(ROOT_ID, os.fsencode(folder), "jobs", watch_filter=WatchFilter(purpose="jobs")))
    for text in (b"kind: a", b"kind: bb"):
        (folder / "job.yaml").write_bytes(text)
        hand.say(Hint(b"job.yaml", "changed", is_folder=False))
        assert hand.take() == [b"job.yaml"]
        (folder / "job.yaml").rename(folder.parent / "accepted.yaml")
        hand.say(Hint(b"job.yaml", "gone", is_folder=False))


def test_a_requested_scan_reports_its_end(hand: HandDriven, folder: Path) -> None:
    hand.open()
    old_file(folder / "x.png")
    ticket = hand.rounds.request_scan("test", "missed")  # type: ignore[union-attr]
    assert not ticket.is_set()
    hand.run()
    assert ticket.is_set()
    assert hand.take() == [b"x.png"]


def test_a_requested_scan_of_an_offline_root_does_not_wait(hand: HandDriven, folder: Path) -> None:
    folder.rmdir()
    hand.open()
    ticket = hand.rounds.request_scan("test", "missed")  # type: ignore[union-attr]
    hand.run()
    assert ticket.is_set()


def test_a_quiet_root_sleeps_long(hand: HandDriven, folder: Path) -> None:
    """Idle cost is the number of rounds: one a sweep, nothing in between."""
    old_file(folder / "x.png")
    hand.open()
    hand.run(60)
    assert hand.rounds is not None
    rounds, turn = 0, hand.rounds.run_once

    def counted() -> float:
        nonlocal rounds
        rounds += 1
        return turn()

    hand.rounds.run_once = counted  # type: ignore[method-assign]
    hand.run(600)
    assert rounds <= 600 / 20 * 4


def test_the_settings_can_disable_the_sweep(hand: HandDriven, folder: Path) -> None:
    hand.open(None, WatchOptions(sweep_seconds=None, reconcile_seconds=None))
    old_file(folder / "x.png")
    hand.run(10_000)
    assert hand.take() == []


def test_an_unchanged_job_file_put_back_without_an_event_is_delivered_again(
    hand: HandDriven, folder: Path, tmp_path: Path
) -> None:
    """It was refused because a model was not there; now it is, and the person moves the file back."""
    inbox = WatchedRoot(ROOT_ID, os.fsencode(folder), "jobs", "poll", WatchFilter(purpose="jobs"))
    hand.open(inbox)
    job = old_file(folder / "x.yaml")
    hand.run(11)
    assert hand.take() == [b"x.yaml"]
    job.rename(tmp_path / "x.yaml")
    hand.run(11)
    (tmp_path / "x.yaml").rename(job)
    hand.run(11)
    assert hand.take() == [b"x.yaml"]


def test_a_relocated_root_is_not_read_again(hand: HandDriven, folder: Path) -> None:
    files = [old_file(folder / name, name.encode()) for name in ("a/x.png", "y.png", "back.png", "edited.png")]
    hand.open()
    assert len(hand.take()) == 4
    # As `relocate` leaves it: inodes unknown. The other disk keeps times to two seconds.
    blank = {rel: stamp._replace(inode=0) for rel, stamp in hand.known.present_stamps(ROOT_ID).items()}
    hand.known.present[ROOT_ID] = blank
    hand.known.mark_missing(ROOT_ID, [b"back.png"], 5.0)
    set_age(files[0], 3601)
    old_file(folder / "edited.png", b"another size")
    hand.reopen()
    assert hand.take() == [b"edited.png"]
    assert hand.missing() == []
    assert all(stamp.inode for stamp in hand.known.present_stamps(ROOT_ID).values())
    hand.reopen()
    assert hand.take() == []


@pytest.mark.parametrize(
    "text", [b"d/x.txt", b"d/x.json", b"d/x.swarm.json", b"d/x.civitai.info", b"d/x.xmp", b"d/x.png.xmp"]
)
def test_a_new_sidecar_file_delivers_its_image_again(hand: HandDriven, folder: Path, text: bytes) -> None:
    (folder / "d").mkdir()
    old_file(folder / "d" / "x.png")
    old_file(folder / "d" / "y.png")
    hand.open()
    hand.take()
    (folder / os.fsdecode(text)).write_bytes(b"Steps: 20, Seed: 5")
    hand.say(Hint(text, "changed", is_folder=False))
    assert hand.take() == [b"d/x.png"]
    hand.say(Hint(b"d/z.txt", "changed", is_folder=False))
    (folder / os.fsdecode(text)).unlink()
    hand.say(Hint(text, "gone", is_folder=False))
    assert hand.take() == []


@pytest.mark.parametrize("mode", ["native", "poll"])
def test_a_scan_finds_sidecar_files_without_events(
    hand: HandDriven, folder: Path, mode: Literal["native", "poll"]
) -> None:
    for name in ("x.png", "y.png", "z.png"):
        old_file(folder / name)
    root = WatchedRoot(ROOT_ID, os.fsencode(folder), mode=mode)
    hand.open(root)
    assert sorted(hand.take()) == [b"x.png", b"y.png", b"z.png"]
    hand.known.read_at = {b"x.png": time.time() - 100, b"y.png": time.time() + 100}
    for name in ("x.txt", "y.txt", "z.txt"):
        (folder / name).write_bytes(b"text")
    hand.rounds.request_scan("test", "scan")  # type: ignore[union-attr]
    hand.run()
    assert hand.take() == [b"x.png"]
    hand.rounds.request_scan("test", "scan")  # type: ignore[union-attr]
    hand.run()
    assert hand.take() == []
    os.utime(folder / "x.txt", (time.time() - 10, time.time() - 10))
    hand.rounds.request_scan("test", "scan")  # type: ignore[union-attr]
    hand.run()
    assert hand.take() == [b"x.png"]
    hand.reopen()
    assert hand.take() == [b"x.png"]


def test_a_scan_delivers_an_image_with_metadata_for_a_new_xmp_sidecar_only(hand: HandDriven, folder: Path) -> None:
    for name in ("x.png", "y.png"):
        old_file(folder / name)
    hand.open()
    hand.take()
    hand.known.read_at = dict.fromkeys((b"x.png", b"y.png"), time.time() - 100)
    hand.known.with_metadata = {b"x.png", b"y.png"}
    (folder / "x.png.xmp").write_bytes(b"<x/>")
    (folder / "y.txt").write_bytes(b"text")
    hand.rounds.request_scan("test", "scan")  # type: ignore[union-attr]
    hand.run()
    assert hand.take() == [b"x.png"]


def test_a_sidecar_file_delivers_a_reported_image_before_it_is_indexed_and_no_unknown_one(
    hand: HandDriven, folder: Path
) -> None:
    hand.stores = False
    hand.open()
    (folder / "x.png").write_bytes(b"picture")
    hand.say(Hint(b"x.png", "changed", is_folder=False))
    (folder / "x.txt").write_bytes(b"text")
    hand.say(Hint(b"x.txt", "changed", is_folder=False))
    assert hand.take() == [b"x.png", b"x.png"]
    (folder / "y.PNG").write_bytes(b"picture")
    (folder / "y.txt").write_bytes(b"text")
    hand.say(Hint(b"y.txt", "changed", is_folder=False))
    assert hand.take() == []


def test_a_changed_folder_log_delivers_its_newest_images_again(hand: HandDriven, folder: Path) -> None:
    for name in ("x.png", "y.png", "z.png"):
        old_file(folder / name)
    hand.open()
    hand.take()
    (folder / "log.html").write_text(
        "<a href='x.png'>1</a><a href=\"../y.png\">2</a><a href='z.png'>3</a><a href='gone.png'>"
    )
    hand.say(Hint(b"log.html", "renamed", is_folder=False))
    assert hand.take() == [b"x.png", b"z.png"]


def test_a_sidecar_file_of_an_excluded_image_delivers_nothing(hand: HandDriven, folder: Path) -> None:
    old_file(folder / "x.png")
    hand.open(WatchedRoot(ROOT_ID, os.fsencode(folder), watch_filter=WatchFilter(exclude=["x.png"])))
    (folder / "x.txt").write_bytes(b"a")
    hand.say(Hint(b"x.txt", "changed", is_folder=False))
    assert hand.take() == []
