"""Long prose costs a bounded time, and no image waits for the text of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from indexd.indexing.batch_scheduler import BATCHES_PER_TURN
from indexd.indexing.dispatcher import MAX_BATCHES_PER_LANE, IndexDispatcher
from indexd.indexing.stages.embedding import MAX_BATCH_CHARACTERS, MAX_SENT_CHARACTERS, truncation_notes
from indexd.store.protocols import IndexStore
from indexd.worker.call_handle import CallHandle
from indexd.worker.calls import (
    MAX_EMBEDDED_TOKENS,
    AnyCall,
    EmbedImages,
    EmbedText,
    MakeThumbnails,
    Priority,
)
from indexd.worker.fake_workers import FakeWorkers
from tests.unit.indexing.conftest import Clock


class RecordingWorkers(FakeWorkers):
    """Keeps the priority of each call, and lets the time of a call pass."""

    def __init__(self, clock: Clock, seconds: Callable[[AnyCall], float] = lambda _call: 0.0) -> None:
        super().__init__()
        self.priorities: list[tuple[type, Priority]] = []
        self._clock = clock
        self._seconds = seconds

    def submit(self, call: AnyCall, **options: Any) -> CallHandle:
        self.priorities.append((type(call), options["priority"]))
        self._clock.now += self._seconds(call)
        return super().submit(call, **options)


def drain(dispatcher: IndexDispatcher) -> None:
    while dispatcher.step():
        pass


def test_a_text_of_a_megabyte_goes_alone_and_is_cut(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    huge = "a word and another " * 60_000
    add("a fox", "a cat", huge, "a dog", "an owl")
    workers = FakeWorkers()
    drain(dispatcher_of(workers))
    assert store.index_tasks.counts() == {}
    batches = [call.texts for call in workers.calls if isinstance(call, EmbedText) and call.role == "bge"]
    assert batches == [("a fox", "a cat"), (huge[:MAX_SENT_CHARACTERS],), ("a dog", "an owl")]


def test_a_batch_of_texts_has_a_bounded_length(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher]
) -> None:
    half = "x" * (MAX_BATCH_CHARACTERS // 2)
    add(*(half for _ in range(4)))
    workers = FakeWorkers()
    drain(dispatcher_of(workers))
    assert {len(call.texts) for call in workers.calls if isinstance(call, EmbedText)} == {2}


def test_an_image_is_sent_while_prose_fills_the_worker_and_goes_first(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher], clock: Clock
) -> None:
    add(*(f"prose {number}" for number in range(40)))
    workers = RecordingWorkers(clock)
    workers.hold()
    dispatcher = dispatcher_of(workers)
    drain(dispatcher)
    assert workers.call_counts[EmbedText] == MAX_BATCHES_PER_LANE, "the lane is full of prose"
    workers.release_kind(MakeThumbnails)
    drain(dispatcher)
    assert workers.call_counts[EmbedText] == MAX_BATCHES_PER_LANE
    assert workers.call_counts[EmbedImages] == MAX_BATCHES_PER_LANE
    priorities = dict(workers.priorities)
    assert priorities[EmbedImages] < priorities[EmbedText]
    workers.release()
    drain(dispatcher)
    assert store.index_tasks.counts() == {}


def test_a_stage_whose_batches_take_long_gives_way_sooner(
    store: IndexStore, add: Callable[..., list[int]], dispatcher_of: Callable[..., IndexDispatcher], clock: Clock
) -> None:
    add(*(f"prose {number}" for number in range(200)))
    workers = RecordingWorkers(clock, lambda call: 10.0 if isinstance(call, EmbedText) and call.role == "bge" else 0.0)
    drain(dispatcher_of(workers))
    roles = [call.role for call in workers.calls if isinstance(call, EmbedText)]
    assert roles.index("clip_l") < BATCHES_PER_TURN // 2, "and not after sixteen batches of 10 s each"
    assert store.index_tasks.counts() == {}


def test_show_says_that_a_text_is_embedded_in_part() -> None:
    assert truncation_notes("a fox", None) == []
    (note,) = truncation_notes("a fox", "word " * 10_000)
    assert "negative prompt" in note and str(MAX_EMBEDDED_TOKENS) in note
