"""The job ledger: admitted once, attempts counted first, every state as it was after a restart."""

from __future__ import annotations

from contextlib import closing

import pytest

from indexd.store.protocols import IndexStore
from indexd.store.records import ItemOutput
from indexd_schemas.job_state import JobState
from tests.unit.store.contract.conftest import OpenStore
from tests.unit.store.sample_rows import Clock, new_job


def _states(store: IndexStore, job_id: int) -> list[str]:
    return [item.state for item in store.jobs.items(job_id)]


def test_a_job_is_stored_completely(store: IndexStore, clock: Clock) -> None:
    job = store.jobs.admit(new_job("portraits", items=2, priority=3))
    assert (job.name, job.kind, job.source, job.inbox_name) == (
        "portraits",
        "txt2img",
        b"kind: txt2img\n",
        "portraits.yaml",
    )
    assert (job.state, job.file_location, job.priority, job.created_at, job.finished_at) == (
        "queued",
        "inbox",
        3,
        clock.now,
        None,
    )
    assert job.item_counts == {"queued": 2}
    first, second = store.jobs.items(job.id)
    assert (first.index, first.seed, first.path, first.settings) == (
        0,
        2**64 - 1,
        b"/out/portraits-0.png",
        {"steps": 4},
    )
    assert (second.index, second.state, second.attempts, second.error) == (1, "queued", 0, None)
    assert store.jobs.get(job.id) == job
    assert store.jobs.item(first.id) == first


def test_admitting_the_same_file_twice_creates_one_job(store: IndexStore) -> None:
    job = store.jobs.admit(new_job(key="inode 7"))
    store.jobs.begin_attempt(store.jobs.items(job.id)[0].id)
    again = store.jobs.admit(new_job("renamed", key="inode 7"))
    assert (again.id, again.name, again.state) == (job.id, "portraits", "running")
    assert store.jobs.counts() == {"running": 1}
    assert store.jobs.admit(new_job(key="inode 8")).id != job.id


def test_items_are_ordered_by_priority_age_and_index(store: IndexStore) -> None:
    low = store.jobs.admit(new_job("low", items=1))
    old = store.jobs.admit(new_job("old", items=2, priority=9))
    store.jobs.admit(new_job("young", items=1, priority=9))
    made = []
    while (item := store.jobs.next_item(0.0)) is not None:
        store.jobs.begin_attempt(item.id)
        made.append((item.job_id - low.id, item.index))
    assert made == [(1, 0), (1, 1), (2, 0), (0, 0)]
    assert [job.name for job in store.jobs.unfinished()] == ["old", "young", "low"]
    assert old.priority == 9


def test_an_attempt_is_counted_before_it_runs(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        job = store.jobs.admit(new_job(items=1))
        item = store.jobs.next_item(0.0)
        assert item is not None
        assert store.jobs.begin_attempt(item.id) == 1
        assert store.jobs.next_item(0.0) is None
        with pytest.raises(LookupError, match="is not queued"):
            store.jobs.begin_attempt(item.id)
    with closing(open_store()) as store:
        assert store.jobs.next_item(0.0) is None
        (item,) = store.jobs.items(job.id)
        assert (item.state, item.attempts) == ("running", 1)
        store.jobs.mark_item_failed(item.id, "the program ended", retry_at=0.0)
        item = store.jobs.next_item(0.0)
        assert item is not None
        assert item.attempts == 1
        assert store.jobs.begin_attempt(item.id) == 2
        found = store.jobs.get(job.id)
        assert found is not None
        assert found.state == "running"


def test_a_published_item_references_its_image(store: IndexStore) -> None:
    job = store.jobs.admit(new_job(items=1))
    (item,) = store.jobs.items(job.id)
    store.jobs.begin_attempt(item.id)
    store.jobs.mark_published(item.id, ItemOutput(b"/out/x.png", b"h" * 32, 1.5))
    (item,) = store.jobs.items(job.id)
    assert (item.state, item.path, item.content_hash, item.seconds, item.attempts) == (
        "done",
        b"/out/x.png",
        b"h" * 32,
        1.5,
        1,
    )


def test_a_failed_item_waits_for_its_retry_time_or_stays_failed(store: IndexStore) -> None:
    job = store.jobs.admit(new_job(items=2))
    one, two = store.jobs.items(job.id)
    store.jobs.begin_attempt(one.id)
    store.jobs.mark_item_failed(one.id, "out of memory", retry_at=50.0)
    store.jobs.begin_attempt(two.id)
    store.jobs.mark_item_failed(two.id, "three deaths", retry_at=None)
    assert store.jobs.next_item(49.0) is None
    assert store.jobs.next_ready_at() == 50.0
    item = store.jobs.next_item(50.0)
    assert item is not None
    assert (item.id, item.attempts, item.error) == (one.id, 1, "out of memory")
    assert _states(store, job.id) == ["queued", "failed"]


def test_a_released_item_does_not_count_as_attempt(store: IndexStore) -> None:
    job = store.jobs.admit(new_job(items=1))
    (item,) = store.jobs.items(job.id)
    store.jobs.begin_attempt(item.id)
    store.jobs.requeue_item(item.id)
    assert store.jobs.begin_attempt(item.id) == 1


def test_cancelling_keeps_finished_items_and_stops_the_others(store: IndexStore, clock: Clock) -> None:
    job = store.jobs.admit(new_job(items=3))
    made, running, _ = store.jobs.items(job.id)
    store.jobs.begin_attempt(made.id)
    store.jobs.mark_published(made.id, ItemOutput(made.path, b"h", 1.0))
    store.jobs.begin_attempt(running.id)
    clock.now += 5
    assert store.jobs.cancel(job.id)
    assert not store.jobs.cancel(job.id)
    assert _states(store, job.id) == ["done", "cancelled", "cancelled"]
    assert store.jobs.next_item(0.0) is None
    store.jobs.mark_item_failed(running.id, "cancelled within a step", retry_at=0.0)
    store.jobs.requeue_item(running.id)
    store.jobs.finish(job.id, JobState.DONE)
    found = store.jobs.get(job.id)
    assert found is not None
    assert (found.state, found.finished_at) == ("cancelled", clock.now)
    assert _states(store, job.id) == ["done", "cancelled", "cancelled"]
    store.jobs.mark_published(running.id, ItemOutput(running.path, b"i", 1.0))
    assert _states(store, job.id) == ["done", "done", "cancelled"]


def test_retrying_resets_attempts_and_keeps_finished_items(store: IndexStore) -> None:
    job = store.jobs.admit(new_job(items=3))
    made, failed, _ = store.jobs.items(job.id)
    store.jobs.mark_published(made.id, ItemOutput(made.path, b"h", 1.0))
    store.jobs.begin_attempt(failed.id)
    store.jobs.mark_item_failed(failed.id, "nan", retry_at=None)
    store.jobs.finish(job.id, JobState.FAILED, "1 of 3 failed")
    found = store.jobs.get(job.id)
    assert found is not None
    assert (found.state, found.error, found.item_counts) == (
        "failed",
        "1 of 3 failed",
        {"done": 1, "failed": 1, "queued": 1},
    )
    assert store.jobs.retry(job.id) == 1
    found = store.jobs.get(job.id)
    assert found is not None
    assert (found.state, found.error, found.finished_at) == ("queued", None, None)
    item = store.jobs.next_item(0.0)
    assert item is not None
    assert (item.id, item.attempts, item.error) == (failed.id, 0, None)


def test_retrying_a_finished_job_does_nothing(store: IndexStore) -> None:
    job = store.jobs.admit(new_job(items=1))
    store.jobs.mark_published(store.jobs.items(job.id)[0].id, ItemOutput(b"/x", b"h", 1.0))
    store.jobs.finish(job.id, JobState.DONE)
    assert store.jobs.retry(job.id) == 0
    assert store.jobs.counts() == {"done": 1}


def test_job_files_in_the_wrong_folder_are_listed(store: IndexStore) -> None:
    job = store.jobs.admit(new_job("a", items=1))
    other = store.jobs.admit(new_job("b", items=1))
    assert [one.id for one in store.jobs.misplaced_files()] == [job.id, other.id]
    store.jobs.set_file_location(job.id, "accepted")
    store.jobs.set_file_location(other.id, "accepted")
    assert store.jobs.misplaced_files() == []
    store.jobs.finish(job.id, JobState.DONE)
    store.jobs.cancel(other.id)
    assert [one.name for one in store.jobs.misplaced_files()] == ["a", "b"]
    store.jobs.set_file_location(job.id, "done")
    store.jobs.set_file_location(other.id, "failed")
    assert store.jobs.misplaced_files() == []
    store.jobs.retry(other.id)
    assert [(one.name, one.file_location) for one in store.jobs.misplaced_files()] == [("b", "failed")]


def test_jobs_are_found_by_name_and_by_number(store: IndexStore) -> None:
    first = store.jobs.admit(new_job("faces", key="1"))
    second = store.jobs.admit(new_job("faces", key="2"))
    number = store.jobs.admit(new_job(str(first.id), key="3"))
    for wanted, expected in (("faces", second.id), (str(second.id), second.id), (str(first.id), number.id)):
        found = store.jobs.by_name(wanted)
        assert found is not None
        assert found.id == expected
    assert store.jobs.by_name("nobody") is None
    assert store.jobs.by_name("9" * 30) is None
    assert store.jobs.by_name("²") is None
    assert store.jobs.get(999) is None


def test_jobs_are_listed_newest_first(store: IndexStore) -> None:
    one, two, three = (store.jobs.admit(new_job(name, items=1)) for name in ("one", "two", "three"))
    store.jobs.finish(two.id, JobState.DONE)
    assert [job.id for job in store.jobs.list(None, 2)] == [three.id, two.id]
    assert [job.id for job in store.jobs.list(["queued", "failed"])] == [three.id, one.id]
    assert store.jobs.list([]) == []
    assert store.jobs.counts() == {"queued": 2, "done": 1}


def test_a_paused_queue_hands_out_nothing_until_it_resumes(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        store.jobs.admit(new_job(items=1))
        assert store.jobs.pause_reason() is None
        store.jobs.pause("the disk is full")
        assert store.jobs.next_item(0.0) is None
    with closing(open_store()) as store:
        assert store.jobs.pause_reason() == "the disk is full"
        store.jobs.pause(None)
        assert store.jobs.next_item(0.0) is not None
