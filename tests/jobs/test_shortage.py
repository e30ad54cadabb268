"""No file handle is left, at every single moment of a job's life: the job comes through, once, and is not blamed."""

from __future__ import annotations

import pytest

from tests.jobs.conftest import Open, Room
from tests.shortage import Shortage, again_and_again, each_refused


@pytest.mark.parametrize("count", [1, 7])
def test_a_job_comes_through_whenever_handles_are_refused(
    open_room: Open, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    room = open_room()
    shortage = Shortage(monkeypatch)
    for number in each_refused(shortage, count):
        heard = _admitted(room, shortage, f"job{number}")
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
    assert room.listed("failed") == room.listed("accepted") == room.listed(".") == []
    assert len(room.workers.calls) == number + 1


def _admitted(room: Room, shortage: Shortage, name: str) -> list[str]:
    """Drop a job file and have it taken; what the queue was told since the job stands in the ledger."""
    heard: list[str] = []

    def listen() -> None:
        with shortage.paused():
            heard.extend(job.name for job in room.store.jobs.unfinished())

    room.jobs._listeners[:] = [listen]
    with shortage.paused():
        path = room.drop("kind: txt2img\nprompt: a fox\nsize: 64x64\n", f"{name}.yaml")
    again_and_again(lambda: room.jobs.take(path))
    return heard
