"""The queue: order, pipelining, attempts, pauses, cancelling, stopping."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
from PIL import Image

from indexd.background.signal import Signal
from indexd.errors import NothingFound, OutOfMemory, RenderFailed, StorageFull, StoreUnavailable, UsageError, WorkerDied
from indexd.jobs.queue import restart, retry
from indexd.store.records import JobRow, JobState
from indexd.worker.calls import AnyCall, Render
from indexd.worker.fake_workers import FakeWorkers
from indexd_schemas.api.output import JobResult
from tests.unit.jobs.conftest import Open, Room

SMALL = "kind: txt2img\nprompt: a fox\nsize: 64x64\n"
Usage = namedtuple("Usage", "total used free")


def _submit(room: Room, more: str = "", name: str = "x.yaml") -> int:
    return room.jobs.submit((SMALL + more).encode(), name).id


def _renders(workers: FakeWorkers) -> list[str]:
    return [str(call.recipe.job) for call in workers.calls if isinstance(call, Render)]


def _states(room: Room, job_id: int) -> list[str]:
    return [item.state for item in room.store.jobs.items(job_id)]


def _job_state(room: Room, job_id: int) -> str:
    job = room.store.jobs.get(job_id)
    assert job is not None
    return job.state


def test_a_job_from_file_to_result(room: Room) -> None:
    room.jobs.admit_file(room.drop(SMALL + "count: 3\nloras: [film-grain]\n"))
    room.work()
    assert room.pictures() == ["x-0001.png", "x-0002.png", "x-0003.png"]
    assert room.listed("done") == ["x.result.json", "x.yaml"]
    result = json.loads((room.inbox / "done" / "x.result.json").read_text())
    assert (result["state"], result["error"], result["name"], result["job_id"]) == ("done", None, "x", 1)
    assert [picture["seed"] for picture in result["pictures"]] == [1000, 1001, 1002]
    assert [Path(picture["path"]).name for picture in result["pictures"]] == room.pictures()
    assert all(len(picture["hash"]) == 64 and picture["attempts"] == 1 for picture in result["pictures"])
    assert [recipe["job"] for recipe in result["recipes"]] == ["1/0", "1/1", "1/2"]
    call = room.workers.calls[0]
    assert isinstance(call, Render)
    assert {key.kind: Path(os.fsdecode(file.path)).name for key, file in call.files.items()} == {
        "checkpoint": "base.safetensors",
        "lora": "film-grain.safetensors",
    }


def test_higher_priority_first_then_older_then_by_index(room: Room) -> None:
    room.workers.hold()
    _submit(room, "count: 2")
    _submit(room, "priority: low")
    _submit(room, "priority: high")
    for _ in range(6):
        room.work()
        room.workers.release(1)
    assert _renders(room.workers) == ["3/0", "1/0", "1/1", "2/0"]


def test_the_next_render_is_handed_over_before_the_last_picture_is_published(open_room: Open) -> None:
    workers = FakeWorkers()
    seen: list[int] = []
    room = open_room(workers, fault=lambda point: seen.append(len(workers.calls)) if point == "temp opened" else None)
    workers.hold()
    _submit(room, "count: 4")
    room.work()
    assert _renders(workers) == ["1/0", "1/1"]
    for _ in range(4):
        workers.release(1)
        room.work()
    assert seen == [3, 4, 4, 4]


def test_attempts_are_counted_before_the_work(room: Room) -> None:
    room.workers.hold()
    _submit(room)
    room.work()
    assert [(item.state, item.attempts) for item in room.store.jobs.items(1)] == [("running", 1)]


def test_three_deaths_and_the_picture_is_set_aside_while_the_queue_goes_on(room: Room) -> None:
    def poison(call: AnyCall) -> bool:
        return isinstance(call, Render) and call.recipe.job == "1/0"

    for _ in range(3):
        room.workers.fail_next(WorkerDied("the worker ended with signal 11"), poison)
    room.jobs.admit_file(room.drop(SMALL + "count: 2", "bad.yaml"))
    room.jobs.admit_file(room.drop(SMALL, "good.yaml"))
    room.work()
    assert _states(room, 1) == ["queued", "done"]
    assert _job_state(room, 2) == "done"
    for _ in range(2):
        room.clock.now += 60
        room.work()
    assert _states(room, 1) == ["failed", "done"]
    error = room.store.jobs.items(1)[0].error
    assert (
        error == "the worker died 3 times while making this item, so it is set aside: the worker ended with signal 11"
    )
    assert _job_state(room, 1) == "failed"
    assert room.listed("failed") == ["bad.result.json", "bad.yaml", "bad.yaml.error.txt"]
    text = (room.inbox / "failed" / "bad.yaml.error.txt").read_text()
    assert text.startswith("1 of 2 items failed; item 1: the worker died 3 times")
    assert room.store.jobs.pause_reason() is None


def test_a_retry_waits_and_the_runner_knows_until_when(room: Room) -> None:
    room.workers.fail_next(WorkerDied("gone"))
    _submit(room)
    room.work()
    assert room.runner.run_once() == pytest.approx(retry.RETRY_SECONDS[0])
    room.clock.now += retry.RETRY_SECONDS[0]
    room.work()
    assert _job_state(room, 1) == "done"


def test_an_idle_runner_waits_without_limit(room: Room) -> None:
    assert room.runner.run_once() is None
    _submit(room)
    room.work()
    assert room.runner.run_once() is None


def test_a_failed_stage_fails_at_once(room: Room) -> None:
    room.workers.fail_next(RenderFailed("decode gave a black picture"))
    _submit(room)
    room.work()
    assert (_states(room, 1), room.store.jobs.items(1)[0].attempts) == (["failed"], 1)


def test_a_bug_in_the_worker_is_tried_three_times(room: Room) -> None:
    for _ in range(3):
        room.workers.fail_next(ValueError("shape"))
    _submit(room)
    for _ in range(3):
        room.work()
        room.clock.now += 60
    room.work()
    assert room.store.jobs.items(1)[0].error == "failed 3 times: ValueError: shape"


def test_out_of_memory_pauses_the_queue_and_it_resumes_by_itself(room: Room) -> None:
    room.workers.fail_next(OutOfMemory("the card has no room"))
    _submit(room)
    room.work()
    _submit(room)
    room.work()
    assert "the card has no room (job 1, item 1)" in (room.store.jobs.pause_reason() or "")
    assert len(room.workers.calls) == 1
    room.clock.now += 60
    room.work()
    assert room.store.jobs.pause_reason() is None
    assert [_job_state(room, 1), _job_state(room, 2)] == ["done", "done"]


def test_a_picture_too_large_for_the_card_does_not_hold_the_queue_for_ever(room: Room) -> None:
    for _ in range(3):
        room.workers.fail_next(
            OutOfMemory("no room"), lambda call: isinstance(call, Render) and call.recipe.job == "1/0"
        )
    _submit(room)
    _submit(room)
    for _ in range(4):
        room.work()
        room.clock.now += 60
    room.work()
    assert room.store.jobs.items(1)[0].error == "out of memory 3 times: no room"
    assert _job_state(room, 2) == "done"


def test_a_full_disk_keeps_the_picture_and_waits_for_room(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    _submit(room)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr(shutil, "disk_usage", lambda _path: Usage(1, 1, 0))
        room.work()
        assert f"the disk of {room.output} is full" in (room.store.jobs.pause_reason() or "")
        room.clock.now += 60
        room.work()
        assert room.pictures() == []
    room.clock.now += 60
    room.work()
    assert room.store.jobs.pause_reason() is None
    assert room.pictures() == ["x-0001.png"]
    assert len(room.workers.calls) == 1
    assert [item.attempts for item in room.store.jobs.items(1)] == [1]


EMFILE = OSError(errno.EMFILE, "Too many open files")
AWAY = pytest.mark.parametrize(
    "trouble",
    [StorageFull("the disk of the index is full"), StoreUnavailable("another program holds the index"), EMFILE],
)


@AWAY
@pytest.mark.parametrize("call", ["next_item", "begin_attempt"])
def test_an_index_that_cannot_be_used_is_waited_for(
    room: Room, monkeypatch: pytest.MonkeyPatch, call: str, trouble: Exception
) -> None:
    def refuses(*_arguments: object) -> int:
        raise trouble

    _submit(room)
    with monkeypatch.context() as patch:
        patch.setattr(room.store.jobs, call, refuses)
        room.work()
    assert room.store.jobs.pause_reason() == str(trouble)
    room.clock.now += 60
    room.work()
    assert _job_state(room, 1) == "done"


@AWAY
def test_what_ended_while_the_index_cannot_be_used_is_settled_when_it_can(
    room: Room, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    def full(*_arguments: object, **_more: object) -> int:
        raise trouble

    room.workers.hold()
    _submit(room, "count: 4")
    room.work()
    room.workers.fail_next(WorkerDied("gone"))
    with monkeypatch.context() as patch:
        for write in ("begin_attempt", "mark_item_failed"):
            patch.setattr(room.store.jobs, write, full)
        room.workers.release(2)
        room.work()
        room.clock.now += 60
        room.work()
    assert room.store.jobs.pause_reason() == str(trouble)
    room.workers.release()
    for _ in range(4):
        room.clock.now += 60
        room.work()
    assert _states(room, 1) == ["done"] * 4


def test_the_file_of_a_job_that_could_not_be_moved_is_moved_without_another_job(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    _submit(room)
    with monkeypatch.context() as patch:
        patch.setattr(room.jobs.file_sync.folders, "move_finished", full)
        room.work()
    assert _job_state(room, 1) == "done"
    assert list((room.inbox / "done").iterdir()) == []
    room.work()
    assert list((room.inbox / "done").iterdir()) == []  # not in every turn
    room.clock.now += 60
    room.work()
    assert sorted(path.name for path in (room.inbox / "done").iterdir()) == ["x.result.json", "x.yaml"]
    assert list((room.inbox / "accepted").iterdir()) == []


def test_a_file_that_another_thread_brings_along_is_not_written_again(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written twice, the second could be cut short by a death when the row no longer asks for it."""
    _submit(room)
    closed: list[int] = []
    close = room.jobs.file_sync.folders.move_finished

    def counted(job: JobRow, result: JobResult) -> Path:
        closed.append(job.id)
        return close(job, result)

    monkeypatch.setattr(room.jobs.file_sync.folders, "move_finished", counted)
    with room.jobs.file_sync.folders.lock:
        runner = threading.Thread(target=room.work)
        runner.start()
        while _job_state(room, 1) != "done":
            time.sleep(0.005)
        room.jobs.file_sync.settle_all()
    runner.join()
    assert closed == [1]


def test_a_job_whose_file_cannot_be_moved_is_not_taken_back(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    _submit(room)
    with monkeypatch.context() as patch:
        patch.setattr(
            room.jobs.file_sync.folders, "move_finished", lambda *_arguments: (_ for _ in ()).throw(OSError("full"))
        )
        room.jobs.cancel(1)
        with pytest.raises(StoreUnavailable, match="the file of job 1 cannot be moved yet"):
            room.jobs.retry(1)
    assert room.jobs.retry(1).state == "queued"
    assert room.listed("accepted") == ["x.yaml"]
    assert room.listed("failed") == []


def test_a_model_that_is_gone_pauses_the_queue_until_it_is_back(room: Room) -> None:
    _submit(room, "model: dream")
    checkpoint = room.jobs.catalogue.checkpoint("dream").path
    away = checkpoint.rename(checkpoint.with_suffix(".away"))
    room.work()
    assert "there is no checkpoint 'dream'" in (room.store.jobs.pause_reason() or "")
    assert room.store.jobs.items(1)[0].attempts == 0
    room.clock.now += 60
    room.work()
    assert room.store.jobs.pause_reason() is not None
    away.rename(checkpoint)
    room.clock.now += 60
    room.work()
    assert room.store.jobs.pause_reason() is None
    assert _job_state(room, 1) == "done"


def test_jobs_of_other_models_go_on_while_one_is_gone(room: Room) -> None:
    waits = _submit(room, "model: dream\npriority: high\ncount: 2")
    checkpoint = room.jobs.catalogue.checkpoint("dream").path
    away = checkpoint.rename(checkpoint.with_suffix(".away"))
    goes_on = _submit(room, "count: 3")
    room.work()
    assert (_job_state(room, goes_on), _states(room, waits)) == ("done", ["queued", "queued"])
    assert "there is no checkpoint 'dream'" in (room.store.jobs.pause_reason() or "")
    later = _submit(room)
    room.work()
    assert _job_state(room, later) == "done"
    away.rename(checkpoint)
    room.clock.now += 60
    room.work()
    assert _states(room, waits) == ["done", "done"]
    assert room.store.jobs.pause_reason() is None


def test_a_model_that_goes_while_the_worker_has_the_job_is_the_machines_fault(room: Room) -> None:
    room.workers.hold()
    _submit(room, "model: dream")
    room.work()
    checkpoint = room.jobs.catalogue.checkpoint("dream").path
    away = checkpoint.rename(checkpoint.with_suffix(".away"))
    room.workers.fail_next(RenderFailed("cannot be loaded"))
    room.workers.release()
    room.work()
    assert "dream.safetensors is gone" in (room.store.jobs.pause_reason() or "")
    assert [(item.state, item.attempts) for item in room.store.jobs.items(1)] == [("queued", 0)]
    away.rename(checkpoint)
    room.clock.now += 60
    room.work()
    assert _job_state(room, 1) == "done"


def test_cancelling_the_job_that_waits_for_a_model_lets_the_queue_go_on(room: Room) -> None:
    waits = _submit(room, "model: dream")
    _submit(room)
    room.jobs.catalogue.checkpoint("dream").path.unlink()
    room.work()
    room.jobs.cancel(waits)
    room.clock.now += 60
    room.work()
    assert room.store.jobs.pause_reason() is None
    assert _job_state(room, 2) == "done"


def test_a_role_that_is_off_is_tried_again_ever_more_seldom(room: Room) -> None:
    room.workers.disabled_roles["generator"] = "it is not verified"
    _submit(room)
    pauses = retry.check_backoff(room.clock)
    for seconds in (pauses.pause_after(number) for number in range(1, 5)):
        room.work()
        assert "generator is off, because it is not verified" in (room.store.jobs.pause_reason() or "")
        assert room.runner.run_once() == pytest.approx(seconds)
        room.clock.now += seconds
    del room.workers.disabled_roles["generator"]
    room.work()
    assert _job_state(room, 1) == "done"


def test_a_source_picture_that_changed_fails_its_item(room: Room) -> None:
    source = room.inbox / "s.png"
    Image.new("RGB", (64, 64)).save(source)
    text = b"kind: img2img\nprompt: a\ninput: s.png\n"
    room.jobs.submit(text, "a.yaml")
    room.jobs.submit(text, "b.yaml")
    room.jobs.submit(text, "c.yaml")
    call_before = len(room.workers.calls)
    room.workers.hold()
    room.work()
    assert len(room.workers.calls) == call_before + 2
    Image.new("RGB", (64, 64), "red").save(source)
    room.workers.release()
    room.work()
    assert "is not the one that the job was admitted with" in (room.store.jobs.items(3)[0].error or "")
    assert [_job_state(room, number) for number in (1, 2, 3)] == ["done", "done", "failed"]


def test_cancelling_ends_the_render_in_hand_and_publishes_nothing_more(room: Room) -> None:
    room.workers.hold()
    room.jobs.admit_file(room.drop(SMALL + "count: 3"))
    room.work()
    room.workers.release(1)
    room.work()
    room.jobs.cancel(1)
    room.work()
    assert room.workers.release() == 2  # cancelled calls answer nothing
    room.work()
    assert _states(room, 1) == ["done", "cancelled", "cancelled"]
    assert room.pictures() == ["x-0001.png"]
    assert room.listed("failed") == ["x.result.json", "x.yaml"]
    with pytest.raises(UsageError, match="job 1 is cancelled already"):
        room.jobs.cancel(1)
    with pytest.raises(NothingFound):
        room.jobs.cancel(99)


def test_a_picture_that_comes_back_after_the_cancel_is_dropped(room: Room) -> None:
    room.workers.hold()
    _submit(room)
    room.work()
    room.workers.release()
    room.jobs.cancel(1)
    room.work()
    assert (room.pictures(), _states(room, 1)) == ([], ["cancelled"])


def test_retry_makes_what_failed_with_the_same_seeds(room: Room) -> None:
    room.workers.fail_next(RenderFailed("black"))
    room.jobs.admit_file(room.drop(SMALL + "count: 2"))
    room.work()
    assert room.listed("failed") == ["x.result.json", "x.yaml", "x.yaml.error.txt"]
    seeds = [item.seed for item in room.store.jobs.items(1)]
    room.jobs.retry(1)
    assert (room.listed("failed"), room.listed("accepted")) == ([], ["x.yaml"])
    room.work()
    assert room.listed("done") == ["x.result.json", "x.yaml"]
    assert [item.seed for item in room.store.jobs.items(1)] == seeds
    assert _renders(room.workers) == ["1/0", "1/1", "1/0"]
    with pytest.raises(UsageError, match="job 1 is done; only failed"):
        room.jobs.retry(1)


def test_a_new_process_takes_up_what_was_in_hand_without_counting_it(room: Room, open_room: Open) -> None:
    room.workers.hold()
    _submit(room, "count: 3")
    room.work()
    assert _states(room, 1) == ["running", "running", "queued"]
    again = open_room()
    assert [(item.state, item.attempts) for item in again.store.jobs.items(1)] == [("queued", 0)] * 3
    assert json.loads(again.store.key_values.get(restart.INTERRUPTIONS_KEY) or "{}") == {"1": 1, "2": 1}
    again.work()
    assert _job_state(again, 1) == "done"
    assert open_room().store.key_values.get(restart.INTERRUPTIONS_KEY) is None


def test_a_picture_that_ends_the_program_every_time_comes_to_an_end(
    open_room: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart, "MAX_INTERRUPTIONS", 3)
    room = open_room()
    _submit(room)
    for _ in range(3):
        room.workers.hold()
        room.work()
        room = open_room()
    assert room.store.jobs.items(1)[0].error == "the program ended 3 times while this item was made, so it is set aside"
    assert _job_state(room, 1) == "failed"


def test_a_job_whose_last_picture_was_published_at_the_death_is_closed_by_the_next_process(
    room: Room, open_room: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room.store.jobs, "finish", lambda *_args, **_named: (_ for _ in ()).throw(KeyboardInterrupt))
    room.jobs.admit_file(room.drop(SMALL))
    with pytest.raises(KeyboardInterrupt):
        room.work()
    assert room.listed("accepted") == ["x.yaml"]
    again = open_room()
    assert again.listed("done") == ["x.result.json", "x.yaml"]
    assert again.pictures() == ["x-0001.png"]


@pytest.mark.parametrize("gone", ["result", "both"])
def test_the_end_of_a_job_can_be_written_twice(room: Room, open_room: Open, gone: str) -> None:
    room.jobs.admit_file(room.drop(SMALL))
    room.work()
    (room.inbox / "done" / "x.result.json").unlink()
    if gone == "both":
        (room.inbox / "done" / "x.yaml").rename(room.inbox / "accepted" / "x.yaml")
    room.store.jobs.set_file_location(1, "accepted")
    again = open_room()
    assert again.listed("done") == ["x.result.json", "x.yaml"]
    assert again.listed("accepted") == []


def test_a_folder_that_is_gone_with_its_parent_pauses_the_queue(room: Room, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "june").mkdir(parents=True)
    _submit(room, f"output: {disk / 'june'}")
    shutil.rmtree(disk)
    room.work()
    assert "is its disk mounted?" in (room.store.jobs.pause_reason() or "")
    assert not disk.exists()
    disk.mkdir()
    room.clock.now += 60
    room.work()
    assert [path.name for path in (disk / "june").iterdir()] == ["x-0001.png"]


def test_folders_below_the_output_folder_are_made(room: Room) -> None:
    _submit(room, "output: {folder: a/b, name: hero}")
    room.work()
    assert room.pictures() == ["a/b/hero.png"]


def test_a_folder_that_cannot_be_written_costs_that_picture_alone(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(item: object, *_rest: object) -> None:
        raise PermissionError(13, "Permission denied")

    _submit(room)
    with monkeypatch.context() as patch:
        patch.setattr(room.jobs.publisher, "publish", refused)
        for _ in range(3):
            room.work()
            room.clock.now += 60
    _submit(room)
    room.work()
    assert "failed 3 times: PermissionError" in (room.store.jobs.items(1)[0].error or "")
    assert _job_state(room, 2) == "done"


def test_the_thread_wakes_for_a_job_and_stops_with_nothing_in_hand(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.runner.start()
    published = threading.Event()
    finish = room.store.jobs.finish

    def told(job_id: int, state: JobState, error: str | None = None, *, unnotified: bool = False) -> None:
        finish(job_id, state, error, unnotified=unnotified)
        published.set()

    monkeypatch.setattr(room.store.jobs, "finish", told)
    _submit(room)
    assert published.wait(30)
    room.runner.stop()
    assert room.pictures() == ["x-0001.png"]


def test_stopping_hands_back_what_was_not_finished(room: Room) -> None:
    room.workers.hold()
    _submit(room, "count: 3")
    room.runner.start()
    while len(room.workers.calls) < 2:
        threading.Event().wait(0.01)
    room.runner.stop(0.0)
    assert [(item.state, item.attempts) for item in room.store.jobs.items(1)] == [("queued", 0)] * 3


def test_stopping_waits_for_the_render_in_hand(room: Room) -> None:
    room.workers.hold()
    _submit(room, "count: 3")
    room.runner.start()
    while len(room.workers.calls) < 2:
        threading.Event().wait(0.01)
    stopper = threading.Thread(target=room.runner.stop, args=(60.0,))
    stopper.start()
    while room.workers.release(1) == 0:
        threading.Event().wait(0.01)
    stopper.join()
    assert [(item.state, item.attempts) for item in room.store.jobs.items(1)] == [
        ("done", 1),
        ("queued", 0),
        ("queued", 0),
    ]


def test_stopping_does_not_wait_for_a_cancelled_render(room: Room) -> None:
    room.workers.hold()
    _submit(room)
    room.runner.start()
    while not room.workers.calls:
        threading.Event().wait(0.01)
    room.jobs.changed = Signal("no listeners")  # a step that lasts has not seen the cancel yet
    room.jobs.cancel(1)
    stopper = threading.Thread(target=room.runner.stop, args=(600.0,))
    stopper.start()
    stopper.join(30)
    assert not stopper.is_alive()
    assert _states(room, 1) == ["cancelled"]


def test_a_bug_in_the_runner_is_told_loudly(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException] = []
    heard = threading.Event()

    def on_failure(error: BaseException) -> None:
        told.append(error)
        heard.set()

    room.runner._on_failure = on_failure
    monkeypatch.setattr(room.store.jobs, "next_item", lambda *_: 1 / 0)
    room.runner.start()
    assert heard.wait(30)
    room.runner.stop()
    assert isinstance(told[0], ZeroDivisionError)


def test_seconds_are_the_time_a_render_held_the_card_alone(room: Room) -> None:
    _submit(room)
    room.work()
    item = room.store.jobs.items(1)[0]
    assert item.seconds is not None
    assert 0 <= item.seconds < 60
