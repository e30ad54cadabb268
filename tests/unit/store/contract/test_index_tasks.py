"""The work table: handed out once, counted before it is done, never lost."""

from __future__ import annotations

from contextlib import closing

from indexd.store.protocols import IndexStore
from indexd.store.records import IndexTask
from tests.unit.store.contract.conftest import OpenStore
from tests.unit.store.sample_rows import Library


def test_tasks_are_claimed_oldest_first_and_only_once(store: IndexStore, library: Library) -> None:
    ids = library.add_many(5, stages=("clip_h",))
    assert store.index_tasks.claim("clip_h", 2, now=0.0) == [
        IndexTask(ids[0], "clip_h", 1),
        IndexTask(ids[1], "clip_h", 1),
    ]
    assert [item.image_id for item in store.index_tasks.claim("clip_h", 9, now=0.0)] == ids[2:]
    assert store.index_tasks.claim("clip_h", 9, now=0.0) == []
    assert store.index_tasks.claim("thumbnail", 9, now=0.0) == []
    assert store.index_tasks.counts() == {"clip_h": {"running": 5}}


def test_a_completed_task_is_deleted(store: IndexStore, library: Library) -> None:
    ids = library.add_many(2, stages=("thumbnail", "clip_h"))
    store.index_tasks.claim("thumbnail", 9, now=0.0)
    store.index_tasks.mark_done("thumbnail", ids)
    assert store.index_tasks.counts() == {"clip_h": {"pending": 2}}


def test_a_failed_task_waits_until_its_retry_time(store: IndexStore, library: Library) -> None:
    (image_id,) = library.add_many(1, stages=("clip_h",))
    store.index_tasks.claim("clip_h", 1, now=0.0)
    store.index_tasks.mark_failed("clip_h", image_id, "out of memory", retry_at=100.0)
    assert store.index_tasks.claim("clip_h", 1, now=99.0) == []
    (row,) = store.index_tasks.of_image(image_id)
    assert (row.state, row.attempts, row.not_before, row.error) == ("pending", 1, 100.0, "out of memory")
    assert store.index_tasks.claim("clip_h", 1, now=100.0) == [IndexTask(image_id, "clip_h", 2)]


def test_a_failed_task_without_retry_time_stays_until_it_is_retried(store: IndexStore, library: Library) -> None:
    one, two = library.add_many(2, stages=("clip_h", "thumbnail"))
    store.index_tasks.mark_failed("clip_h", one, "kills the worker", retry_at=None)
    store.index_tasks.mark_failed("thumbnail", one, "truncated", retry_at=None)
    assert [item.image_id for item in store.index_tasks.claim("clip_h", 9, now=1e12)] == [two]
    assert store.index_tasks.retry("clip_h") == 1
    assert store.index_tasks.claim("clip_h", 9, now=0.0) == [IndexTask(one, "clip_h", 1)]
    assert store.index_tasks.retry() == 1
    assert [(row.stage, row.state, row.error) for row in store.index_tasks.of_image(one)] == [
        ("clip_h", "running", None),
        ("thumbnail", "pending", None),
    ]


def test_a_released_task_does_not_count_as_attempt(store: IndexStore, library: Library) -> None:
    ids = library.add_many(2, stages=("clip_h",))
    store.index_tasks.claim("clip_h", 2, now=0.0)
    store.index_tasks.mark_done("clip_h", ids[:1])
    store.index_tasks.requeue("clip_h", ids)
    assert store.index_tasks.claim("clip_h", 2, now=0.0) == [IndexTask(ids[1], "clip_h", 1)]


def test_a_task_without_a_file_waits_without_retry_time_and_attempt(store: IndexStore, library: Library) -> None:
    first, second = library.add("a.png", stages=("clip_h",)), library.add("b.png", stages=("clip_h",))
    store.files.mark_missing(library.root.id, [b"a.png"], 1.0)
    store.index_tasks.claim("clip_h", 9, now=0.0)
    store.index_tasks.mark_blocked("clip_h", first, "no file", retry_at=100.0)
    store.index_tasks.mark_blocked("clip_h", second, "no file", retry_at=100.0)
    assert store.index_tasks.counts() == {"clip_h": {"blocked": 1, "pending": 1}}
    # Where the index still believes in the file nothing would wake it.
    assert store.index_tasks.claim("clip_h", 9, now=100.0) == [IndexTask(second, "clip_h", 1)]
    store.index_tasks.mark_done("clip_h", [second])
    # The same content at another place, as a restored backup would have it.
    library.add("copy/a.png", content="a.png")
    assert store.index_tasks.claim("clip_h", 9, now=0.0) == [IndexTask(first, "clip_h", 1)]


def test_running_tasks_of_a_killed_process_are_pending_again_and_count(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        library = Library(store, store.roots.ensure(b"/pictures", "images"))
        ids = library.add_many(3, stages=("clip_h",))
        store.index_tasks.claim("clip_h", 2, now=0.0)
    with closing(open_store()) as store:
        assert store.index_tasks.reset_running() == 2
        assert store.index_tasks.reset_running() == 0
        assert [(item.image_id, item.attempts) for item in store.index_tasks.claim("clip_h", 9, now=0.0)] == [
            (ids[0], 1),
            (ids[1], 1),
            (ids[2], 1),
        ]
