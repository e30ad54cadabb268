"""No file handle is left, at every single moment of a job's life: the job comes through, once, and is not blamed."""

from __future__ import annotations

import errno
import os

import pytest
from PIL import Image

from indexd.background.signal import Signal
from indexd.fs.safe_open import open_regular
from tests.support.handle_shortage import HandleShortage, refuse_each, retry_until_done
from tests.unit.jobs.conftest import Open, Room

TXT2IMG = "kind: txt2img\nprompt: a fox\nsize: 64x64\n"
IMG2IMG = "kind: img2img\nprompt: a fox\ninput: in.png\n"


@pytest.mark.parametrize("text", [TXT2IMG, IMG2IMG], ids=["txt2img", "img2img"])
@pytest.mark.parametrize("count", [1, 7])
def test_a_job_comes_through_whenever_handles_are_refused(
    open_room: Open, monkeypatch: pytest.MonkeyPatch, count: int, text: str
) -> None:
    room = open_room()
    Image.new("RGB", (64, 64), "red").save(room.inbox / "in.png")
    shortage = HandleShortage(monkeypatch)
    for number in refuse_each(shortage, count):
        heard = _admitted(room, shortage, f"job{number}", text)
        for _ in range(count + 2):
            room.work()
            room.clock.now += 60
        with shortage.paused():
            room.work()
            (job, *_) = room.store.jobs.list()
            assert heard, f"nobody was told of the job when handle {number} was refused"
            assert (job.name, job.state, job.error) == (f"job{number}", "done", None), number
            assert [item.attempts for item in room.store.jobs.items(job.id)] == [1], number
    shortage.refuse(0, 0)
    assert len(room.pictures()) == len(room.listed("done")) / 2 == number + 1
    assert room.listed("failed") == room.listed("accepted") == []
    assert room.listed(".") == ["in.png"]
    assert len(room.workers.calls) == number + 1


def test_a_job_that_was_submitted_is_acknowledged_once_it_stands_in_the_ledger(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortage = HandleShortage(monkeypatch)
    for number in refuse_each(shortage, 1):
        retry_until_done(lambda number=number: room.jobs.submit(TXT2IMG.encode(), f"a{number}"))  # type: ignore[misc]
        with shortage.paused():
            assert len(room.store.jobs.list()) == number + 1
    assert number > 3


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTCONN])
def test_an_input_whose_disk_fails_costs_its_own_job_and_no_other(
    room: Room, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    Image.new("RGB", (64, 64), "red").save(room.inbox / "in.png")
    room.jobs.admit_file(room.drop(IMG2IMG, "a.yaml"))
    room.jobs.admit_file(room.drop(TXT2IMG, "b.yaml"))

    def refuses(path: bytes) -> object:
        if path.endswith(b"in.png"):
            raise OSError(number, os.strerror(number), path)
        return open_regular(path)

    monkeypatch.setattr("indexd.jobs.render_kind.open_regular", refuses)
    for _ in range(5):
        room.work()
        room.clock.now += 60
    (first, second) = sorted(room.store.jobs.list(), key=lambda job: job.id)
    assert (first.state, second.state) == ("failed", "done")
    assert os.strerror(number) in (first.error or "")


def test_a_worker_without_handles_costs_a_picture_no_attempt(room: Room) -> None:
    for _ in range(5):
        room.workers.fail_next(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    path = room.drop(TXT2IMG)
    room.jobs.admit_file(path)
    for _ in range(6):
        room.work()
        assert room.store.jobs.list()[0].state != "failed"
        room.clock.now += 60
    assert [(item.state, item.attempts) for item in room.store.jobs.items(1)] == [("done", 1)]


def _admitted(room: Room, shortage: HandleShortage, name: str, text: str) -> list[str]:
    """Drop a job file and have it taken; what the queue was told since the job stands in the ledger."""
    heard: list[str] = []

    def listen() -> None:
        with shortage.paused():
            heard.extend(job.name for job in room.store.jobs.unfinished())

    room.jobs.changed = Signal("the listener of this test")
    room.jobs.changed.subscribe(listen)
    with shortage.paused():
        path = room.drop(text, f"{name}.yaml")
    retry_until_done(lambda: room.jobs.admit_file(path))
    return heard
