"""The dispatcher over a real index and a fake worker: every path that a piece of work can take."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexd.errors import ModelUnavailable, OutOfMemory, StorageFull, StoreUnavailable, WorkerDied
from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.indexing.batch_failures import RETRY_SECONDS
from indexd.indexing.dispatcher import MAX_BATCHES_PER_LANE, POLL_SECONDS, IndexDispatcher
from indexd.indexing.role_backoff import FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, RoleBackoff
from indexd.indexing.stages import LAYERS, stages_for
from indexd.indexing.stages.index_stage import NO_FILE_REASON, NO_FILE_RETRY_SECONDS, ThumbnailTarget
from indexd.indexing.stages.replacement import MISSING_IMAGE_RETRY_SECONDS
from indexd.store.protocols import IndexStore
from indexd.store.records import ScannedFile
from indexd.worker.calls import (
    AnyCall,
    CompareImages,
    EmbedImages,
    EmbedText,
    MakeThumbnails,
    WorkerSettings,
)
from indexd.worker.fake_workers import FakeWorkers, text_vector
from tests.unit.indexing.conftest import Clock

POISON = "the poisonous prompt"


def test_a_defect_that_ends_the_thread_is_told_and_nobody_waits_for_it(
    store: IndexStore, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[BaseException] = []
    dispatcher = IndexDispatcher(store, FakeWorkers(), settings, ThumbnailTarget("/nowhere", 64), told.append)
    monkeypatch.setattr(dispatcher, "step", lambda: 1 / 0)
    dispatcher.start()
    drained = threading.Thread(target=dispatcher.drain, daemon=True)
    drained.start()
    drained.join(30)
    assert not drained.is_alive()
    dispatcher.stop()
    assert [type(error) for error in told] == [ZeroDivisionError]


def drain(dispatcher: IndexDispatcher) -> None:
    while dispatcher.step():
        pass


def texts_of(call: AnyCall) -> tuple[str, ...]:
    return call.texts if isinstance(call, EmbedText) else ()


def test_everything_that_waits_is_done_in_batches(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    ids = add(*(f"a prompt {n}" for n in range(10)), negative="blurry")
    without = add(None)
    workers = FakeWorkers()
    drain(dispatcher_of(workers))
    assert store.index_tasks.counts() == {}
    for layer in LAYERS.values():
        assert store.vectors.get(layer.name, ids[3]) is not None
    assert store.vectors.get("bge_prompt", without[0]) is None
    wanted = text_vector("a prompt 3")
    assert store.vectors.scores("bge_prompt", wanted, ids)[ids[3]] == pytest.approx(1.0, abs=1e-3)
    assert max(len(texts_of(call)) for call in workers.calls) == 4
    assert isinstance(workers.calls[0], MakeThumbnails)
    assert store.perceptual_hashes.counts() == (11, 0)
    assert workers.call_counts[EmbedText] == 4 * 3
    assert workers.call_counts[EmbedImages] == 3


def test_a_role_without_a_model_waits_and_is_done_when_the_model_appears(
    store: IndexStore,
    add: Callable[..., list[int]],
    dispatcher_of: Callable[..., IndexDispatcher],
    settings: WorkerSettings,
    tmp_path: Path,
) -> None:
    add("a fox")
    specs = dict(settings.models)
    del specs["clip_l"]
    specs["bge"] = replace(specs["bge"], path=str(tmp_path / "later"))
    dispatcher = dispatcher_of(FakeWorkers(), replace(settings, models=specs))
    drain(dispatcher)
    assert set(store.index_tasks.counts()) == {"bge_prompt", "clip_l"}
    assert dispatcher.blocked_roles() == {
        "bge": f"there is nothing at {tmp_path / 'later'}; mount it or change [models.bge] path",
        "clip_l": "no model is set for it; name one under [models.clip_l] in the settings",
    }
    (tmp_path / "later").mkdir()
    drain(dispatcher)
    assert set(store.index_tasks.counts()) == {"clip_l"}


def test_the_workers_decide_whether_a_model_is_there_and_whether_it_was_replaced(
    store: IndexStore, add: Callable[..., list[int]], settings: WorkerSettings
) -> None:
    elsewhere = {role: replace(spec, path="/models/of/another/machine") for role, spec in settings.models.items()}
    settings, workers = replace(settings, models=elsewhere), FakeWorkers(identity="one")
    (image_id,) = add("a fox")
    dispatcher = IndexDispatcher(store, workers, settings, ThumbnailTarget("/nowhere", 64))
    drain(dispatcher)
    assert dispatcher.blocked_roles() == {}
    assert store.index_tasks.counts() == {}
    assert store.vectors.get("clip_h", image_id) is not None
    replaced = FakeWorkers(identity="two")
    start_and_stop(
        IndexDispatcher(store, replaced, settings, ThumbnailTarget("/nowhere", 64)),
        until=lambda: _identities(store) == {"two"},
    )


def test_a_model_that_cannot_be_loaded_costs_no_attempts_and_is_tried_again_later(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher], clock: Clock
) -> None:
    (image_id,) = add("a fox")
    workers = FakeWorkers(disabled_roles={"bge": "it is damaged"})
    dispatcher = dispatcher_of(workers)
    drain(dispatcher)
    assert dispatcher.blocked_roles() == {"bge": "it is damaged"}
    assert [(row.stage, row.attempts) for row in store.index_tasks.of_image(image_id)] == [("bge_prompt", 0)]
    asked = len(workers.calls)
    drain(dispatcher)
    assert len(workers.calls) == asked
    workers.disabled_roles.clear()
    clock.now += FIRST_BACKOFF_SECONDS
    drain(dispatcher)
    assert store.index_tasks.counts() == {}
    assert dispatcher.blocked_roles() == {}


def test_a_model_that_was_put_right_is_taken_up_without_waiting(
    store: IndexStore,
    add: Callable[..., list[int]],
    dispatcher_of: Callable[..., IndexDispatcher],
    clock: Clock,
    models: Path,
) -> None:
    workers = FakeWorkers(disabled_roles={"bge": "cannot be loaded", "clip_h": "cannot be loaded"})
    dispatcher = dispatcher_of(workers)
    add("a fox")
    for _ in range(8):
        drain(dispatcher)
        clock.now += 900
    drain(dispatcher)
    assert set(store.index_tasks.counts()) == {"bge_prompt", "clip_h"}
    workers.disabled_roles.clear()
    drain(dispatcher)
    assert set(store.index_tasks.counts()) == {"bge_prompt", "clip_h"}
    dispatcher.mark_role_working("bge")  # as `indexd models verify` tells it
    drain(dispatcher)
    assert set(store.index_tasks.counts()) == {"clip_h"}
    (models / "weights").write_bytes(b"whole again")
    clock.now += POLL_SECONDS
    drain(dispatcher)
    assert store.index_tasks.counts() == {}


def test_a_poisonous_item_is_found_and_set_aside_and_the_others_are_done(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher], clock: Clock
) -> None:
    workers = FakeWorkers()
    dispatcher = dispatcher_of(workers)
    add("the first of all")
    drain(dispatcher)
    ids = add("one", "two", POISON, "three", "four")
    for _ in range(20):
        workers.fail_next(WorkerDied("killed"), lambda call: POISON in texts_of(call) and call.role == "bge")  # type: ignore[union-attr]
    drain(dispatcher)
    assert store.vectors.get("bge_prompt", ids[0]) is not None
    asked = [call.texts for call in workers.calls if isinstance(call, EmbedText) and call.role == "bge"]
    assert [texts for texts in asked if POISON in texts] == [("one", "two", POISON, "three"), (POISON,)]
    clock.now += 3 * RETRY_SECONDS
    drain(dispatcher)
    assert store.index_tasks.counts() == {"bge_prompt": {"failed": 1}}
    (row,) = store.index_tasks.of_image(ids[2])
    assert (row.attempts, row.error) == (3, "killed")
    assert all(store.vectors.get("bge_prompt", image_id) is not None for image_id in ids if image_id != ids[2])


def test_a_vector_that_is_no_number_is_set_aside(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    (image_id,) = add("a fox")
    path = store.images.paths([image_id])[image_id]
    dispatcher = dispatcher_of(FakeWorkers(known_vectors={path: [np.nan] * 32}))
    drain(dispatcher)
    assert store.index_tasks.counts() == {"clip_h": {"failed": 1}}
    row = store.images.get(image_id)
    assert row is not None
    assert row.decode_problem == "cannot be read"


def test_a_picture_whose_file_is_gone_waits_for_it(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher], clock: Clock
) -> None:
    (image_id,) = add(None)
    path = Path(os.fsdecode(store.images.paths([image_id])[image_id]))
    content = path.read_bytes()
    path.unlink()
    dispatcher = dispatcher_of(FakeWorkers())
    drain(dispatcher)
    assert {row.error for row in store.index_tasks.of_image(image_id)} == {NO_FILE_REASON}
    row = store.images.get(image_id)
    assert row is not None
    assert row.decode_problem is None
    assert {row.attempts for row in store.index_tasks.of_image(image_id)} == {0}
    path.write_bytes(content)
    clock.now += NO_FILE_RETRY_SECONDS
    drain(dispatcher)
    assert store.index_tasks.counts() == {}


def test_a_file_that_is_marked_missing_waits_as_well(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    (image_id,) = add(None)
    row = store.images.get(image_id)
    assert row is not None
    store.files.mark_missing(row.files[0].root_id, [row.files[0].rel], 1.0)
    workers = FakeWorkers()
    drain(dispatcher_of(workers))
    assert workers.calls == []
    assert {(row.state, row.attempts, row.error) for row in store.index_tasks.of_image(image_id)} == {
        ("blocked", 0, NO_FILE_REASON)
    }
    # It need not wait for a time: what brings the file back wakes it.
    store.files.update_stamps(row.files[0].root_id, [(row.files[0].rel, row.files[0].stamp)])
    drain(dispatcher_of(workers))
    assert store.index_tasks.counts() == {}


def test_work_on_an_offline_folder_goes_on_when_it_is_back(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    (image_id,) = add(None)
    path = Path(os.fsdecode(store.images.paths([image_id])[image_id]))
    row = store.images.get(image_id)
    assert row is not None

    def is_online(online: bool) -> None:
        store.roots.set_state(row.files[0].root_id, online=online, identity=None, mode="native", reason="")

    path.rename(path.with_name("away"))
    is_online(False)
    dispatcher = dispatcher_of(FakeWorkers())
    drain(dispatcher)
    assert {one.state for one in store.index_tasks.of_image(image_id)} == {"blocked"}
    path.with_name("away").rename(path)
    is_online(True)
    drain(dispatcher)
    assert store.index_tasks.counts() == {}


def test_out_of_memory_makes_batches_smaller_and_costs_no_attempts(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    add(*(f"prompt {n}" for n in range(4)))
    workers = FakeWorkers()
    workers.fail_next(OutOfMemory("no room"), lambda call: isinstance(call, EmbedImages))
    drain(dispatcher_of(workers))
    assert [len(call.paths) for call in workers.calls if isinstance(call, EmbedImages)] == [4, 2, 2]
    assert store.index_tasks.counts() == {}


def test_a_disk_that_is_full_holds_the_thumbnails(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher], clock: Clock
) -> None:
    (image_id,) = add(None)
    workers = FakeWorkers()
    workers.fail_next(OSError(28, "No space left on device"), lambda call: isinstance(call, MakeThumbnails))
    dispatcher = dispatcher_of(workers)
    drain(dispatcher)
    assert [(row.stage, row.attempts) for row in store.index_tasks.of_image(image_id)] == [("thumbnail", 0)]
    clock.now += FIRST_BACKOFF_SECONDS
    drain(dispatcher)
    assert store.index_tasks.counts() == {}


def test_a_lane_gets_no_more_than_it_needs(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    add(*(f"prompt {n}" for n in range(40)))
    workers = FakeWorkers()
    workers.hold()
    dispatcher = dispatcher_of(workers)
    drain(dispatcher)
    assert workers.call_counts[MakeThumbnails] == MAX_BATCHES_PER_LANE
    assert len(workers.calls) == 2 * MAX_BATCHES_PER_LANE


def test_layers_take_turns(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    """A library that is being indexed for the first time: the last layer must not wait until the first is through."""
    add(*(f"prompt {n}" for n in range(200)))
    workers = FakeWorkers()
    drain(dispatcher_of(workers))
    order = [type(call) for call in workers.calls if not isinstance(call, MakeThumbnails)]
    assert order.index(EmbedImages) < len(order) / 2


def test_a_replaced_model_asks_for_everything_again(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher], models: Path
) -> None:
    ids = add("a fox", "a cat")
    drain(dispatcher_of(FakeWorkers(identity="one")))
    quiet = FakeWorkers(identity="one")
    start_and_stop(dispatcher_of(quiet))
    assert quiet.calls == []
    (models / "weights").write_bytes(b"22")
    workers = FakeWorkers(identity="two")
    start_and_stop(
        dispatcher_of(workers), until=lambda: _identities(store) == {"two"} and store.index_tasks.counts() == {}
    )
    assert store.vectors.get("clip_h", ids[0]) is not None


def _identities(store: IndexStore) -> set[str]:
    return {revision.identity for layer in LAYERS if (revision := store.vectors.active_revision(layer)) is not None}


def start_and_stop(dispatcher: IndexDispatcher, until: Callable[[], bool] = lambda: True) -> None:
    """Run the real thread until the condition holds; no time is measured."""
    dispatcher.start()
    while not until():
        threading.Event().wait(0.01)
        dispatcher.wake()
    dispatcher.stop()


def test_the_thread_works_when_it_is_told_of_work(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    dispatcher = dispatcher_of(FakeWorkers())
    dispatcher.start()
    add("a fox", "a cat")
    dispatcher.wake()
    while store.index_tasks.counts():
        threading.Event().wait(0.01)
    dispatcher.stop()


def test_stop_gives_back_what_is_in_hand(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    ids = add(*(f"prompt {n}" for n in range(40)))
    workers = FakeWorkers()
    workers.hold()
    dispatcher = dispatcher_of(workers)
    dispatcher.start()
    while len(workers.calls) < 2 * MAX_BATCHES_PER_LANE:
        threading.Event().wait(0.01)
    dispatcher.stop()
    assert {row.state for image_id in ids for row in store.index_tasks.of_image(image_id)} == {"pending"}
    assert {row.attempts for image_id in ids for row in store.index_tasks.of_image(image_id)} == {0}


def test_workers_that_stop_first_are_not_asked_in_a_circle(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    (image_id,) = add("a fox")
    workers = FakeWorkers()
    workers.stop(0.0)
    drain(dispatcher_of(workers))
    assert len(workers.calls) <= 2 * MAX_BATCHES_PER_LANE + len(LAYERS)
    assert {row.attempts for row in store.index_tasks.of_image(image_id)} == {0}


def test_a_result_that_the_index_cannot_take_is_offered_again(
    store: IndexStore,
    add: Callable[..., list[int]],
    dispatcher_of: Callable[..., IndexDispatcher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add("a fox")
    dispatcher = dispatcher_of(FakeWorkers())
    put = store.vectors.put
    failures = iter([StorageFull("the disk is full")])

    def full_once(*arguments: object) -> None:
        for error in failures:
            raise error
        put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store.vectors, "put", full_once)
    with pytest.raises(StorageFull):
        drain(dispatcher)
    drain(dispatcher)
    assert store.index_tasks.counts() == {}


def test_an_index_that_cannot_be_read_in_the_first_moment_is_waited_for(
    store: IndexStore,
    add: Callable[..., list[int]],
    dispatcher_of: Callable[..., IndexDispatcher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add("a fox")
    monkeypatch.setattr("indexd.indexing.dispatcher.POLL_SECONDS", 0.01)
    dispatcher = dispatcher_of(FakeWorkers())
    active = store.vectors.active_revision
    failures = iter([StoreUnavailable("no file handle is left"), OSError(errno.EMFILE, "Too many open files")])

    def refused_once(layer: str) -> object:
        for error in failures:
            raise error
        return active(layer)

    monkeypatch.setattr(store.vectors, "active_revision", refused_once)
    dispatcher.start()
    dispatcher.drain()
    dispatcher.stop()
    assert next(failures, None) is None
    assert store.index_tasks.counts() == {}


def test_the_back_off_of_a_role_grows_until_it_works_again(clock: Clock) -> None:
    backoff, seconds = RoleBackoff(lambda _role: None, clock), list[float]()
    for _ in range(8):
        assert backoff.back_off("bge", "damaged") == (not seconds)
        start = clock.now
        while backoff.is_backed_off("bge"):
            clock.now += 1.0
        seconds.append(clock.now - start)
    assert seconds[0] == FIRST_BACKOFF_SECONDS
    assert seconds == sorted(seconds)
    assert seconds[-1] == MAX_BACKOFF_SECONDS
    backoff.clear("bge")
    assert backoff.back_off("bge", "damaged")


def test_a_model_off_error_names_its_role() -> None:
    workers = FakeWorkers(disabled_roles={"clip_h": "gone"})
    with pytest.raises(ModelUnavailable, match="clip_h is off, because gone"):
        workers.submit(EmbedImages("clip_h", ())).result(0)


@pytest.mark.parametrize(("verdict", "rating"), [(True, 5), (False, None), ("unseen old", None)])
def test_an_edited_picture_is_compared_and_told_to_the_index(
    store: IndexStore,
    add: Callable[..., list[int]],
    dispatcher_of: Callable[..., IndexDispatcher],
    verdict: bool | str,
    rating: int | None,
) -> None:
    (old,) = add("a fox")
    store.annotations.rate([old], 5)
    (new,) = _written_over(store, old)
    workers = FakeWorkers()
    workers.same_image_verdict = verdict
    drain(dispatcher_of(workers))
    assert isinstance(workers.calls[0], CompareImages)
    row = store.images.get(new)
    assert row is not None
    assert row.rating == rating
    assert "replacement" not in store.index_tasks.counts()
    assert len(store.events.recent(5)) == (verdict is not False)


def test_a_new_picture_that_is_away_is_compared_later(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher], clock: Clock
) -> None:
    (old,) = add("a fox")
    store.annotations.rate([old], 5)
    (new,) = _written_over(store, old)
    workers = FakeWorkers()
    workers.same_image_verdict = "unseen new"
    dispatcher = dispatcher_of(workers)
    drain(dispatcher)
    assert store.index_tasks.counts()["replacement"] == {"pending": 1}
    workers.same_image_verdict = True
    clock.now += MISSING_IMAGE_RETRY_SECONDS
    drain(dispatcher)
    row = store.images.get(new)
    assert row is not None
    assert row.rating == 5


def _written_over(store: IndexStore, image_id: int) -> list[int]:
    """Another content at the place of an image."""
    row = store.images.get(image_id)
    assert row is not None
    file = row.files[0]
    content = os.urandom(16)
    Path(os.fsdecode(file.path)).write_bytes(content)
    facts = ImageFacts(hashlib.sha256(content).digest(), 16, "PNG", 8, 8, 1, ImageMetadata())
    sighting = ScannedFile(
        file.root_id, file.rel, FileStamp.from_stat(os.stat(file.path)), facts, stages=stages_for(facts, {"face"})
    )
    return [recorded.image_id or 0 for recorded in store.images.ingest([sighting], 2.0)]
