"""When a file counts as complete: a table of observations over time."""

from __future__ import annotations

from indexd.fs.file_stamp import FileStamp
from indexd.watch.settle import SettledEntry, Settler
from indexd.watch.settle_probe import GONE, FileProbe

A = FileStamp(10, 1, 1)
B = FileStamp(20, 2, 1)
EMPTY = FileStamp(0, 1, 1)


class Disk:
    """Looks by path, set by the test; counts how often it was asked."""

    def __init__(self) -> None:
        self.looks: dict[bytes, FileProbe] = {}
        self.asked = 0

    def __call__(self, rel: bytes) -> FileProbe:
        self.asked += 1
        return self.looks.get(rel, GONE)


def settler(look: FileProbe) -> tuple[Settler, Disk]:
    disk = Disk()
    disk.looks[b"x"] = look
    made = Settler(disk, settle_seconds=0.5)
    made.notice(b"x", 0.0)
    return made, disk


def names(made: Settler, now: float) -> list[bytes]:
    return [settled.rel for settled in made.check_due(now).settled]


def test_a_file_without_writers_is_settled_at_once() -> None:
    made, _ = settler(FileProbe(A, has_writer=False))
    assert made.check_due(0.0).settled == [SettledEntry(b"x", A, "event")]
    assert len(made) == 0
    assert made.next_due() is None


def test_an_open_file_is_polled_with_growing_pauses() -> None:
    made, disk = settler(FileProbe(A, has_writer=True))
    now, pauses = 0.0, []
    while now < 5:
        assert names(made, now) == []
        due = made.next_due()
        assert due is not None
        pauses.append(round(due - now, 6))
        now = due
    assert pauses == sorted(pauses)
    assert pauses[-1] == 1.0
    assert disk.asked < 15


def test_a_close_event_is_handled_without_waiting_for_the_pause() -> None:
    made, disk = settler(FileProbe(A, has_writer=True))
    for now in (0.0, 0.02, 0.06, 0.14, 0.3, 0.62, 1.26):
        made.check_due(now)
    disk.looks[b"x"] = FileProbe(B, has_writer=False)
    made.notice(b"x", 1.5)
    assert made.check_due(1.5).settled == [SettledEntry(b"x", B, "event")]


def test_a_writer_that_never_closes_does_not_block_an_unchanged_file_forever() -> None:
    made, _ = settler(FileProbe(A, has_writer=True))
    assert names(made, 0.0) == []
    assert names(made, 59.9) == []
    assert names(made, 61.0) == [b"x"]


def test_without_writer_detection_an_unchanged_file_settles() -> None:
    made, disk = settler(FileProbe(A))
    assert names(made, 0.0) == []
    assert made.next_due() == 0.5
    disk.looks[b"x"] = FileProbe(B)
    assert names(made, 0.5) == []
    assert names(made, 0.9) == []
    assert names(made, 1.0) == [b"x"]


def test_a_renamed_file_settles_at_once_without_writer_detection() -> None:
    made, disk = settler(FileProbe(A))
    disk.looks[b"y"] = FileProbe(A)
    made.notice(b"y", 0.0, finished=True)
    assert names(made, 0.0) == [b"y"]


def test_an_empty_file_settles_later() -> None:
    made, disk = settler(FileProbe(EMPTY, has_writer=False))
    assert names(made, 0.0) == []
    disk.looks[b"x"] = FileProbe(A, has_writer=False)
    assert names(made, 0.5) == [b"x"]


def test_a_file_that_stays_empty_settles_finally() -> None:
    made, _ = settler(FileProbe(EMPTY, has_writer=False))
    assert names(made, 0.0) == []
    assert names(made, 0.5) == [b"x"]


def test_a_removed_file_is_reported_as_gone() -> None:
    made, _ = settler(GONE)
    assert made.check_due(0.0).gone == [b"x"]
    assert len(made) == 0


def test_a_thousand_events_of_one_file_are_one_check() -> None:
    made, disk = settler(FileProbe(A, has_writer=False))
    for _ in range(1000):
        made.notice(b"x", 0.0)
    assert names(made, 0.0) == [b"x"]
    assert disk.asked == 1


def test_a_batch_is_bounded_and_keeps_the_order() -> None:
    disk = Disk()
    made = Settler(disk, 0.5)
    for number in range(10):
        disk.looks[b"%d" % number] = FileProbe(A, has_writer=False)
        made.notice(b"%d" % number, float(number))
    assert [settled.rel for settled in made.check_due(9.0, limit=4).settled] == [b"0", b"1", b"2", b"3"]
    assert made.next_due() == 4.0
    assert len(made) == 6
