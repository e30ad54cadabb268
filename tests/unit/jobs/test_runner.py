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
from indexd.store.records import JobRow
from indexd.worker.calls import AnyCall, Render
from indexd.worker.fake_workers import FakeWorkers
from indexd_schemas.api.output import JobResult
from indexd_schemas.job_state import JobState
from tests.unit.jobs.conftest import JobSetup, OpenSetup

SMALL = "kind: txt2img\nprompt: a fox\nsize: 64x64\n"
Usage = namedtuple("Usage", "total used free")


def _submit(setup: JobSetup, more: str = "", name: str = "x.yaml") -> int:
    return setup.jobs.submit((SMALL + more).encode(), name).id


def _renders(setup: JobSetup) -> list[str]:
    """Job and index of each render, told by its seed."""
    jobs = setup.store.jobs
    by_seed = {item.seed: f"{job.id}/{item.index}" for job in jobs.list() for item in jobs.items(job.id)}
    return [by_seed[call.recipe.seed] for call in setup.workers.calls if isinstance(call, Render)]


def _states(setup: JobSetup, job_id: int) -> list[str]:
    return [item.state for item in setup.store.jobs.items(job_id)]


def _job_state(setup: JobSetup, job_id: int) -> str:
    job = setup.store.jobs.get(job_id)
    assert job is not None
    return job.state


def test_a_job_from_file_to_result(setup: JobSetup) -> None:
    setup.jobs.admit_file(setup.drop(SMALL + "count: 3\nloras: [film-grain]\n"))
    setup.work()
    assert setup.images() == ["x-0001.png", "x-0002.png", "x-0003.png"]
    assert setup.listed("done") == ["x.result.json", "x.yaml"]
    result = json.loads((setup.inbox / "done" / "x.result.json").read_text())
    assert (result["state"], result["error"], result["name"], result["job_id"]) == ("done", None, "x", 1)
    assert [item["seed"] for item in result["items"]] == [1000, 1001, 1002]
    assert [Path(item["path"]).name for item in result["items"]] == setup.images()
    assert all(len(item["hash"]) == 64 and item["attempts"] == 1 for item in result["items"])
    assert [(recipe["seed"], recipe["job"]) for recipe in result["recipes"]] == [
        (1000, None),
        (1001, None),
        (1002, None),
    ]
    call = setup.workers.calls[0]
    assert isinstance(call, Render)
    assert {key.kind: Path(os.fsdecode(file.path)).name for key, file in call.files.items()} == {
        "checkpoint": "base.safetensors",
        "lora": "film-grain.safetensors",
    }


def test_higher_priority_first_then_older_then_by_index(setup: JobSetup) -> None:
    setup.workers.hold()
    _submit(setup, "count: 2")
    _submit(setup, "priority: low")
    _submit(setup, "priority: high")
    for _ in range(6):
        setup.work()
        setup.workers.release(1)
    assert _renders(setup) == ["3/0", "1/0", "1/1", "2/0"]


def test_the_next_render_is_handed_over_before_the_last_picture_is_published(open_setup: OpenSetup) -> None:
    workers = FakeWorkers()
    seen: list[int] = []
    setup = open_setup(workers, fault=lambda point: seen.append(len(workers.calls)) if point == "temp opened" else None)
    workers.hold()
    _submit(setup, "count: 4")
    setup.work()
    assert _renders(setup) == ["1/0", "1/1"]
    for _ in range(4):
        workers.release(1)
        setup.work()
    assert seen == [3, 4, 4, 4]


def test_attempts_are_counted_before_the_work(setup: JobSetup) -> None:
    setup.workers.hold()
    _submit(setup)
    setup.work()
    assert [(item.state, item.attempts) for item in setup.store.jobs.items(1)] == [("running", 1)]


def test_three_deaths_and_the_picture_is_set_aside_while_the_queue_goes_on(setup: JobSetup) -> None:
    def poison(call: AnyCall) -> bool:
        return isinstance(call, Render) and call.recipe.seed == 1000

    for _ in range(3):
        setup.workers.fail_next(WorkerDied("the worker ended with signal 11"), poison)
    setup.jobs.admit_file(setup.drop(SMALL + "count: 2", "bad.yaml"))
    setup.jobs.admit_file(setup.drop(SMALL, "good.yaml"))
    setup.work()
    assert _states(setup, 1) == ["queued", "done"]
    assert _job_state(setup, 2) == "done"
    for _ in range(2):
        setup.clock.now += 60
        setup.work()
    assert _states(setup, 1) == ["failed", "done"]
    error = setup.store.jobs.items(1)[0].error
    assert (
        error
        == "the worker died 3 times while making this item, so indexd does not try it again: the worker ended with signal 11"
    )
    assert _job_state(setup, 1) == "failed"
    assert setup.listed("failed") == ["bad.result.json", "bad.yaml", "bad.yaml.error.txt"]
    text = (setup.inbox / "failed" / "bad.yaml.error.txt").read_text()
    assert text.startswith("1 of 2 items failed; item 1: the worker died 3 times")
    assert setup.store.jobs.pause_reason() is None


def test_a_retry_waits_and_the_runner_knows_until_when(setup: JobSetup) -> None:
    setup.workers.fail_next(WorkerDied("gone"))
    _submit(setup)
    setup.work()
    assert setup.runner.run_once() == pytest.approx(retry.RETRY_SECONDS[0])
    setup.clock.now += retry.RETRY_SECONDS[0]
    setup.work()
    assert _job_state(setup, 1) == "done"


def test_an_idle_runner_waits_without_limit(setup: JobSetup) -> None:
    assert setup.runner.run_once() is None
    _submit(setup)
    setup.work()
    assert setup.runner.run_once() is None


def test_a_failed_stage_fails_at_once(setup: JobSetup) -> None:
    setup.workers.fail_next(RenderFailed("decode gave a black picture"))
    _submit(setup)
    setup.work()
    assert (_states(setup, 1), setup.store.jobs.items(1)[0].attempts) == (["failed"], 1)


def test_a_bug_in_the_worker_is_tried_three_times(setup: JobSetup) -> None:
    for _ in range(3):
        setup.workers.fail_next(ValueError("shape"))
    _submit(setup)
    for _ in range(3):
        setup.work()
        setup.clock.now += 60
    setup.work()
    assert setup.store.jobs.items(1)[0].error == "failed 3 times: ValueError: shape"


def test_out_of_memory_pauses_the_queue_and_it_resumes_by_itself(setup: JobSetup) -> None:
    setup.workers.fail_next(OutOfMemory("the card has no room"))
    _submit(setup)
    setup.work()
    _submit(setup)
    setup.work()
    assert "the card has no room (job 1, item 1)" in (setup.store.jobs.pause_reason() or "")
    assert len(setup.workers.calls) == 1
    setup.clock.now += 60
    setup.work()
    assert setup.store.jobs.pause_reason() is None
    assert [_job_state(setup, 1), _job_state(setup, 2)] == ["done", "done"]


def test_a_picture_too_large_for_the_card_does_not_hold_the_queue_for_ever(setup: JobSetup) -> None:
    for _ in range(3):
        setup.workers.fail_next(
            OutOfMemory("no room"), lambda call: isinstance(call, Render) and call.recipe.seed == 1000
        )
    _submit(setup)
    _submit(setup)
    for _ in range(4):
        setup.work()
        setup.clock.now += 60
    setup.work()
    assert setup.store.jobs.items(1)[0].error == "out of memory 3 times: no room"
    assert _job_state(setup, 2) == "done"


def test_a_full_disk_keeps_the_picture_and_waits_for_room(setup: JobSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    _submit(setup)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr(shutil, "disk_usage", lambda _path: Usage(1, 1, 0))
        setup.work()
        assert f"the disk of {setup.output} is full" in (setup.store.jobs.pause_reason() or "")
        setup.clock.now += 60
        setup.work()
        assert setup.images() == []
    setup.clock.now += 60
    setup.work()
    assert setup.store.jobs.pause_reason() is None
    assert setup.images() == ["x-0001.png"]
    assert len(setup.workers.calls) == 1
    assert [item.attempts for item in setup.store.jobs.items(1)] == [1]


EMFILE = OSError(errno.EMFILE, "Too many open files")
AWAY = pytest.mark.parametrize(
    "trouble",
    [StorageFull("the disk of the index is full"), StoreUnavailable("another program holds the index"), EMFILE],
)


@AWAY
@pytest.mark.parametrize("call", ["next_item", "begin_attempt"])
def test_an_index_that_cannot_be_used_is_waited_for(
    setup: JobSetup, monkeypatch: pytest.MonkeyPatch, call: str, trouble: Exception
) -> None:
    def refuses(*_arguments: object) -> int:
        raise trouble

    _submit(setup)
    with monkeypatch.context() as patch:
        patch.setattr(setup.store.jobs, call, refuses)
        setup.work()
    assert setup.store.jobs.pause_reason() == str(trouble)
    setup.clock.now += 60
    setup.work()
    assert _job_state(setup, 1) == "done"


@AWAY
def test_what_ended_while_the_index_cannot_be_used_is_settled_when_it_can(
    setup: JobSetup, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    def full(*_arguments: object, **_more: object) -> int:
        raise trouble

    setup.workers.hold()
    _submit(setup, "count: 4")
    setup.work()
    setup.workers.fail_next(WorkerDied("gone"))
    with monkeypatch.context() as patch:
        for write in ("begin_attempt", "mark_item_failed"):
            patch.setattr(setup.store.jobs, write, full)
        setup.workers.release(2)
        setup.work()
        setup.clock.now += 60
        setup.work()
    assert setup.store.jobs.pause_reason() == str(trouble)
    setup.workers.release()
    for _ in range(4):
        setup.clock.now += 60
        setup.work()
    assert _states(setup, 1) == ["done"] * 4


def test_the_file_of_a_job_that_could_not_be_moved_is_moved_without_another_job(
    setup: JobSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    _submit(setup)
    with monkeypatch.context() as patch:
        patch.setattr(setup.jobs.file_sync.folders, "move_finished", full)
        setup.work()
    assert _job_state(setup, 1) == "done"
    assert list((setup.inbox / "done").iterdir()) == []
    setup.work()
    assert list((setup.inbox / "done").iterdir()) == []  # not in every turn
    setup.clock.now += 60
    setup.work()
    assert sorted(path.name for path in (setup.inbox / "done").iterdir()) == ["x.result.json", "x.yaml"]
    assert list((setup.inbox / "accepted").iterdir()) == []


def test_a_file_that_another_thread_brings_along_is_not_written_again(
    setup: JobSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written twice, the second could be cut short by a death when the row no longer asks for it."""
    _submit(setup)
    closed: list[int] = []
    close = setup.jobs.file_sync.folders.move_finished

    def counted(job: JobRow, result: JobResult) -> Path:
        closed.append(job.id)
        return close(job, result)

    monkeypatch.setattr(setup.jobs.file_sync.folders, "move_finished", counted)
    with setup.jobs.file_sync.folders.lock:
        runner = threading.Thread(target=setup.work)
        runner.start()
        while _job_state(setup, 1) != "done":
            time.sleep(0.005)
        setup.jobs.file_sync.settle_all()
    runner.join()
    assert closed == [1]


def test_a_job_whose_file_cannot_be_moved_is_not_taken_back(setup: JobSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    _submit(setup)
    with monkeypatch.context() as patch:
        patch.setattr(
            setup.jobs.file_sync.folders, "move_finished", lambda *_arguments: (_ for _ in ()).throw(OSError("full"))
        )
        setup.jobs.cancel(1)
        with pytest.raises(StoreUnavailable, match="the file of job 1 cannot be moved yet"):
            setup.jobs.retry(1)
    assert setup.jobs.retry(1).state == "queued"
    assert setup.listed("accepted") == ["x.yaml"]
    assert setup.listed("failed") == []


def test_a_model_that_is_gone_pauses_the_queue_until_it_is_back(setup: JobSetup) -> None:
    _submit(setup, "model: dream")
    checkpoint = setup.jobs.catalogue.checkpoint("dream").path
    away = checkpoint.rename(checkpoint.with_suffix(".away"))
    setup.work()
    assert "there is no checkpoint 'dream'" in (setup.store.jobs.pause_reason() or "")
    assert setup.store.jobs.items(1)[0].attempts == 0
    setup.clock.now += 60
    setup.work()
    assert setup.store.jobs.pause_reason() is not None
    away.rename(checkpoint)
    setup.clock.now += 60
    setup.work()
    assert setup.store.jobs.pause_reason() is None
    assert _job_state(setup, 1) == "done"


def test_jobs_of_other_models_go_on_while_one_is_gone(setup: JobSetup) -> None:
    waits = _submit(setup, "model: dream\npriority: high\ncount: 2")
    checkpoint = setup.jobs.catalogue.checkpoint("dream").path
    away = checkpoint.rename(checkpoint.with_suffix(".away"))
    goes_on = _submit(setup, "count: 3")
    setup.work()
    assert (_job_state(setup, goes_on), _states(setup, waits)) == ("done", ["queued", "queued"])
    assert "there is no checkpoint 'dream'" in (setup.store.jobs.pause_reason() or "")
    later = _submit(setup)
    setup.work()
    assert _job_state(setup, later) == "done"
    away.rename(checkpoint)
    setup.clock.now += 60
    setup.work()
    assert _states(setup, waits) == ["done", "done"]
    assert setup.store.jobs.pause_reason() is None


def test_a_job_that_waited_for_a_model_pauses_nothing_once_it_is_cancelled(setup: JobSetup) -> None:
    waits = _submit(setup, "model: dream")
    checkpoint = setup.jobs.catalogue.checkpoint("dream").path
    checkpoint.rename(checkpoint.with_suffix(".away"))
    setup.work()
    assert "cancel job 1" in (setup.store.jobs.pause_reason() or "")
    setup.jobs.cancel(waits)
    setup.work()
    assert setup.store.jobs.pause_reason() is None
    later = _submit(setup)
    setup.work()
    assert _job_state(setup, later) == "done"
    assert setup.store.jobs.pause_reason() is None


def test_a_model_that_goes_while_the_worker_has_the_job_is_the_machines_fault(setup: JobSetup) -> None:
    setup.workers.hold()
    _submit(setup, "model: dream")
    setup.work()
    checkpoint = setup.jobs.catalogue.checkpoint("dream").path
    away = checkpoint.rename(checkpoint.with_suffix(".away"))
    setup.workers.fail_next(RenderFailed("cannot be loaded"))
    setup.workers.release()
    setup.work()
    assert "dream.safetensors is gone" in (setup.store.jobs.pause_reason() or "")
    assert [(item.state, item.attempts) for item in setup.store.jobs.items(1)] == [("queued", 0)]
    away.rename(checkpoint)
    setup.clock.now += 60
    setup.work()
    assert _job_state(setup, 1) == "done"


def test_cancelling_the_job_that_waits_for_a_model_lets_the_queue_go_on(setup: JobSetup) -> None:
    waits = _submit(setup, "model: dream")
    _submit(setup)
    setup.jobs.catalogue.checkpoint("dream").path.unlink()
    setup.work()
    setup.jobs.cancel(waits)
    setup.clock.now += 60
    setup.work()
    assert setup.store.jobs.pause_reason() is None
    assert _job_state(setup, 2) == "done"


def test_a_role_that_is_off_is_tried_again_ever_more_seldom(setup: JobSetup) -> None:
    setup.workers.disabled_roles["generator"] = "it is not verified"
    _submit(setup)
    pauses = retry.check_backoff(setup.clock)
    for seconds in (pauses.pause_after(number) for number in range(1, 5)):
        setup.work()
        assert "generator is off, because it is not verified" in (setup.store.jobs.pause_reason() or "")
        assert setup.runner.run_once() == pytest.approx(seconds)
        setup.clock.now += seconds
    del setup.workers.disabled_roles["generator"]
    setup.work()
    assert _job_state(setup, 1) == "done"


def test_a_source_picture_that_changed_fails_its_item(setup: JobSetup) -> None:
    source = setup.inbox / "s.png"
    Image.new("RGB", (64, 64)).save(source)
    text = b"kind: img2img\nprompt: a\ninput: s.png\n"
    setup.jobs.submit(text, "a.yaml")
    setup.jobs.submit(text, "b.yaml")
    setup.jobs.submit(text, "c.yaml")
    call_before = len(setup.workers.calls)
    setup.workers.hold()
    setup.work()
    assert len(setup.workers.calls) == call_before + 2
    Image.new("RGB", (64, 64), "red").save(source)
    setup.workers.release()
    setup.work()
    assert "is not the one that the job was admitted with" in (setup.store.jobs.items(3)[0].error or "")
    assert [_job_state(setup, number) for number in (1, 2, 3)] == ["done", "done", "failed"]


def test_cancelling_ends_the_render_in_hand_and_publishes_nothing_more(setup: JobSetup) -> None:
    setup.workers.hold()
    setup.jobs.admit_file(setup.drop(SMALL + "count: 3"))
    setup.work()
    setup.workers.release(1)
    setup.work()
    setup.jobs.cancel(1)
    setup.work()
    assert setup.workers.release() == 2  # cancelled calls answer nothing
    setup.work()
    assert _states(setup, 1) == ["done", "cancelled", "cancelled"]
    assert setup.images() == ["x-0001.png"]
    assert setup.listed("failed") == ["x.result.json", "x.yaml"]
    with pytest.raises(UsageError, match="job 1 is cancelled already"):
        setup.jobs.cancel(1)
    with pytest.raises(NothingFound):
        setup.jobs.cancel(99)


def test_a_picture_that_comes_back_after_the_cancel_is_dropped(setup: JobSetup) -> None:
    setup.workers.hold()
    _submit(setup)
    setup.work()
    setup.workers.release()
    setup.jobs.cancel(1)
    setup.work()
    assert (setup.images(), _states(setup, 1)) == ([], ["cancelled"])


def test_retry_makes_what_failed_with_the_same_seeds(setup: JobSetup) -> None:
    setup.workers.fail_next(RenderFailed("black"))
    setup.jobs.admit_file(setup.drop(SMALL + "count: 2"))
    setup.work()
    assert setup.listed("failed") == ["x.result.json", "x.yaml", "x.yaml.error.txt"]
    seeds = [item.seed for item in setup.store.jobs.items(1)]
    setup.jobs.retry(1)
    assert (setup.listed("failed"), setup.listed("accepted")) == ([], ["x.yaml"])
    setup.work()
    assert setup.listed("done") == ["x.result.json", "x.yaml"]
    assert [item.seed for item in setup.store.jobs.items(1)] == seeds
    assert _renders(setup) == ["1/0", "1/1", "1/0"]
    with pytest.raises(UsageError, match="job 1 is done; only failed"):
        setup.jobs.retry(1)


def test_a_new_process_takes_up_what_was_in_hand_without_counting_it(setup: JobSetup, open_setup: OpenSetup) -> None:
    setup.workers.hold()
    _submit(setup, "count: 3")
    setup.work()
    assert _states(setup, 1) == ["running", "running", "queued"]
    again = open_setup()
    assert [(item.state, item.attempts) for item in again.store.jobs.items(1)] == [("queued", 0)] * 3
    assert json.loads(again.store.key_values.get(restart.INTERRUPTIONS_KEY) or "{}") == {"1": 1, "2": 1}
    again.work()
    assert _job_state(again, 1) == "done"
    assert open_setup().store.key_values.get(restart.INTERRUPTIONS_KEY) is None


def test_a_picture_that_ends_the_program_every_time_comes_to_an_end(
    open_setup: OpenSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart, "MAX_INTERRUPTIONS", 3)
    setup = open_setup()
    _submit(setup)
    for _ in range(3):
        setup.workers.hold()
        setup.work()
        setup = open_setup()
    assert (
        setup.store.jobs.items(1)[0].error
        == "indexd ended 3 times while it rendered this item, so it does not try the item again"
    )
    assert _job_state(setup, 1) == "failed"


def test_a_job_whose_last_picture_was_published_at_the_death_is_closed_by_the_next_process(
    setup: JobSetup, open_setup: OpenSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup.store.jobs, "finish", lambda *_args, **_named: (_ for _ in ()).throw(KeyboardInterrupt))
    setup.jobs.admit_file(setup.drop(SMALL))
    with pytest.raises(KeyboardInterrupt):
        setup.work()
    assert setup.listed("accepted") == ["x.yaml"]
    again = open_setup()
    assert again.listed("done") == ["x.result.json", "x.yaml"]
    assert again.images() == ["x-0001.png"]


@pytest.mark.parametrize("gone", ["result", "both"])
def test_the_end_of_a_job_can_be_written_twice(setup: JobSetup, open_setup: OpenSetup, gone: str) -> None:
    setup.jobs.admit_file(setup.drop(SMALL))
    setup.work()
    (setup.inbox / "done" / "x.result.json").unlink()
    if gone == "both":
        (setup.inbox / "done" / "x.yaml").rename(setup.inbox / "accepted" / "x.yaml")
    setup.store.jobs.set_file_location(1, "accepted")
    again = open_setup()
    assert again.listed("done") == ["x.result.json", "x.yaml"]
    assert again.listed("accepted") == []


def test_a_folder_that_is_gone_with_its_parent_pauses_the_queue(setup: JobSetup, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "june").mkdir(parents=True)
    _submit(setup, f"output: {disk / 'june'}")
    shutil.rmtree(disk)
    setup.work()
    assert "is its disk mounted?" in (setup.store.jobs.pause_reason() or "")
    assert not disk.exists()
    disk.mkdir()
    setup.clock.now += 60
    setup.work()
    assert [path.name for path in (disk / "june").iterdir()] == ["x-0001.png"]


def test_folders_below_the_output_folder_are_made(setup: JobSetup) -> None:
    _submit(setup, "output: {folder: a/b, name: hero}")
    setup.work()
    assert setup.images() == ["a/b/hero.png"]


def test_a_folder_that_cannot_be_written_costs_that_picture_alone(
    setup: JobSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(item: object, *_rest: object) -> None:
        raise PermissionError(13, "Permission denied")

    _submit(setup)
    with monkeypatch.context() as patch:
        patch.setattr(setup.jobs.publisher, "publish", refused)
        for _ in range(3):
            setup.work()
            setup.clock.now += 60
    _submit(setup)
    setup.work()
    assert "failed 3 times: PermissionError" in (setup.store.jobs.items(1)[0].error or "")
    assert _job_state(setup, 2) == "done"


def test_the_thread_wakes_for_a_job_and_stops_with_nothing_in_hand(
    setup: JobSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.runner.start()
    published = threading.Event()
    finish = setup.store.jobs.finish

    def told(job_id: int, state: JobState, error: str | None = None, *, unnotified: bool = False) -> None:
        finish(job_id, state, error, unnotified=unnotified)
        published.set()

    monkeypatch.setattr(setup.store.jobs, "finish", told)
    _submit(setup)
    assert published.wait(30)
    setup.runner.stop()
    assert setup.images() == ["x-0001.png"]


def test_stopping_hands_back_what_was_not_finished(setup: JobSetup) -> None:
    setup.workers.hold()
    _submit(setup, "count: 3")
    setup.runner.start()
    while len(setup.workers.calls) < 2:
        threading.Event().wait(0.01)
    setup.runner.stop(0.0)
    assert [(item.state, item.attempts) for item in setup.store.jobs.items(1)] == [("queued", 0)] * 3


def test_stopping_waits_for_the_render_in_hand(setup: JobSetup) -> None:
    setup.workers.hold()
    _submit(setup, "count: 3")
    setup.runner.start()
    while len(setup.workers.calls) < 2:
        threading.Event().wait(0.01)
    stopper = threading.Thread(target=setup.runner.stop, args=(60.0,))
    stopper.start()
    while setup.workers.release(1) == 0:
        threading.Event().wait(0.01)
    stopper.join()
    assert [(item.state, item.attempts) for item in setup.store.jobs.items(1)] == [
        ("done", 1),
        ("queued", 0),
        ("queued", 0),
    ]


def test_stopping_does_not_wait_for_a_cancelled_render(setup: JobSetup) -> None:
    setup.workers.hold()
    _submit(setup)
    setup.runner.start()
    while not setup.workers.calls:
        threading.Event().wait(0.01)
    setup.jobs.changed = Signal("no listeners")  # a step that lasts has not seen the cancel yet
    setup.jobs.cancel(1)
    stopper = threading.Thread(target=setup.runner.stop, args=(600.0,))
    stopper.start()
    stopper.join(30)
    assert not stopper.is_alive()
    assert _states(setup, 1) == ["cancelled"]


def test_a_bug_in_the_runner_is_told_loudly(setup: JobSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException] = []
    heard = threading.Event()

    def on_failure(error: BaseException) -> None:
        told.append(error)
        heard.set()

    setup.runner._on_failure = on_failure
    monkeypatch.setattr(setup.store.jobs, "next_item", lambda *_: 1 / 0)
    setup.runner.start()
    assert heard.wait(30)
    setup.runner.stop()
    assert isinstance(told[0], ZeroDivisionError)


def test_seconds_are_the_time_a_render_held_the_card_alone(setup: JobSetup) -> None:
    _submit(setup)
    setup.work()
    item = setup.store.jobs.items(1)[0]
    assert item.seconds is not None
    assert 0 <= item.seconds < 60
