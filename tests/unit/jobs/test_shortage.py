"""No file handle is left, at every single moment of a job's life: the job comes through, once, and is not blamed."""

from __future__ import annotations

import errno
import os

import pytest
from PIL import Image

from indexd.background.signal import Signal
from indexd.fs.safe_open import open_regular
from tests.support.handle_shortage import HandleShortage, refuse_each, retry_until_done
from tests.unit.jobs.conftest import JobSetup, OpenSetup

TXT2IMG = "kind: txt2img\nprompt: a fox\nsize: 64x64\n"
IMG2IMG = "kind: img2img\nprompt: a fox\ninput: in.png\n"


@pytest.mark.parametrize("text", [TXT2IMG, IMG2IMG], ids=["txt2img", "img2img"])
@pytest.mark.parametrize("count", [1, 7])
def test_a_job_comes_through_whenever_handles_are_refused(
    open_setup: OpenSetup, monkeypatch: pytest.MonkeyPatch, count: int, text: str
) -> None:
    setup = open_setup()
    Image.new("RGB", (64, 64), "red").save(setup.inbox / "in.png")
    shortage = HandleShortage(monkeypatch)
    for number in refuse_each(shortage, count):
        heard = _admitted(setup, shortage, f"job{number}", text)
        for _ in range(count + 2):
            setup.work()
            setup.clock.now += 60
        with shortage.paused():
            setup.work()
            (job, *_) = setup.store.jobs.list()
            assert heard, f"nobody was told of the job when handle {number} was refused"
            assert (job.name, job.state, job.error) == (f"job{number}", "done", None), number
            assert [item.attempts for item in setup.store.jobs.items(job.id)] == [1], number
    shortage.refuse(0, 0)
    assert len(setup.images()) == len(setup.listed("done")) / 2 == number + 1
    assert setup.listed("failed") == setup.listed("accepted") == []
    assert setup.listed(".") == ["in.png"]
    assert len(setup.workers.calls) == number + 1


def test_a_job_that_was_submitted_is_acknowledged_once_it_stands_in_the_ledger(
    setup: JobSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortage = HandleShortage(monkeypatch)
    for number in refuse_each(shortage, 1):
        retry_until_done(lambda number=number: setup.jobs.submit(TXT2IMG.encode(), f"a{number}"))  # type: ignore[misc]
        with shortage.paused():
            assert len(setup.store.jobs.list()) == number + 1
    assert number > 3


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTCONN])
def test_an_input_whose_disk_fails_costs_its_own_job_and_no_other(
    setup: JobSetup, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    Image.new("RGB", (64, 64), "red").save(setup.inbox / "in.png")
    setup.jobs.admit_file(setup.drop(IMG2IMG, "a.yaml"))
    setup.jobs.admit_file(setup.drop(TXT2IMG, "b.yaml"))

    def refuses(path: bytes) -> object:
        if path.endswith(b"in.png"):
            raise OSError(number, os.strerror(number), path)
        return open_regular(path)

    monkeypatch.setattr("indexd.jobs.render_kind.open_regular", refuses)
    for _ in range(5):
        setup.work()
        setup.clock.now += 60
    (first, second) = sorted(setup.store.jobs.list(), key=lambda job: job.id)
    assert (first.state, second.state) == ("failed", "done")
    assert os.strerror(number) in (first.error or "")


def test_a_worker_without_handles_costs_a_picture_no_attempt(setup: JobSetup) -> None:
    for _ in range(5):
        setup.workers.fail_next(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    path = setup.drop(TXT2IMG)
    setup.jobs.admit_file(path)
    for _ in range(6):
        setup.work()
        assert setup.store.jobs.list()[0].state != "failed"
        setup.clock.now += 60
    assert [(item.state, item.attempts) for item in setup.store.jobs.items(1)] == [("done", 1)]


def _admitted(setup: JobSetup, shortage: HandleShortage, name: str, text: str) -> list[str]:
    """Drop a job file and have it taken; what the queue was told since the job stands in the ledger."""
    heard: list[str] = []

    def listen() -> None:
        with shortage.paused():
            heard.extend(job.name for job in setup.store.jobs.unfinished())

    setup.jobs.changed = Signal("the listener of this test")
    setup.jobs.changed.subscribe(listen)
    with shortage.paused():
        path = setup.drop(text, f"{name}.yaml")
    retry_until_done(lambda: setup.jobs.admit_file(path))
    return heard
