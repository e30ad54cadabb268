"""A worker that hangs, dies on the same picture every time, answers in a wrong form, or has too little memory."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from indexd.errors import OutOfMemory, WorkerDied
from indexd.indexing.batch_failures import MAX_ATTEMPTS, RETRY_SECONDS
from indexd.indexing.dispatcher import IndexDispatcher
from indexd.indexing.stages.index_stage import ThumbnailTarget
from indexd.store.protocols import IndexStore
from indexd.store.sqlite.store import SqliteStore
from indexd.worker import result_validation
from indexd.worker.calls import (
    AnyCall,
    Embedded,
    EmbedImages,
    EmbedText,
    FacesFound,
    FindFaces,
    FoundRegion,
    MakeThumbnails,
    ModelSpec,
    Rendered,
    SelfTest,
    ThumbnailsMade,
    WorkerSettings,
)
from indexd.worker.child import call_server
from indexd.worker.fake_workers import FakeWorkers
from indexd.worker.local_workers import LocalWorkers
from indexd.worker.protocol import WorkerBug
from indexd.worker.supervisor import lane
from tests.support.recipes import recipe, render_call
from tests.unit.store.sample_rows import Library, unit_vectors

if sys.platform != "linux":
    pytest.skip("these faults are injected with Linux system calls", allow_module_level=True)

WAIT = 120.0
UNIT = unit_vectors(2, 8)


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(models={}, cache_folder=str(tmp_path), threads=1)


@pytest.fixture
def well(tmp_path: Path) -> Path:
    """While this file is not there, the children below misbehave."""
    return tmp_path / "well"


def hangs_at_first(connection: object, lane_name: str, settings: WorkerSettings) -> None:
    """Runs in the child: it never reads its pipe."""
    if not Path(settings.cache_folder, "well").exists():
        threading.Event().wait()
    call_server.main(connection, lane_name, settings)  # type: ignore[arg-type]


def test_a_worker_that_hangs_before_it_begins_anything_is_replaced_and_no_call_is_lost(
    settings: WorkerSettings, well: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def on_event(_kind: str, text: str) -> None:
        events.append(text)
        well.touch()
        monkeypatch.setattr(lane, "FIRST_MESSAGE_TIMEOUT_SECONDS", 180.0)

    monkeypatch.setattr("indexd.worker.child.call_server.main", hangs_at_first)
    monkeypatch.setattr(lane, "FIRST_MESSAGE_TIMEOUT_SECONDS", 0.2)
    workers = LocalWorkers(settings, on_event)
    try:
        calls = [workers.submit(SelfTest("echo", payload=number)) for number in range(3)]
        assert [call.result(WAIT) for call in calls] == [0, 1, 2]
    finally:
        workers.stop(0.0)
    assert len(events) == 1
    assert "started no call" in events[0]
    assert "calls lost: 0" in events[0]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system has no SIGSTOP")
def test_an_idle_worker_that_froze_is_replaced_when_a_call_comes(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Short for the test; where a start takes longer than this it is tried again until one is quick enough.
    monkeypatch.setattr(lane, "FIRST_MESSAGE_TIMEOUT_SECONDS", 8.0)
    workers = LocalWorkers(settings, lambda _kind, _text: None)
    try:
        first = workers.submit(SelfTest("echo", payload=os.getpid()))
        assert first.result(WAIT)
        (status,) = [one for one in workers.status() if one.pid]
        assert status.pid is not None
        os.kill(status.pid, signal.SIGSTOP)
        assert workers.submit(SelfTest("echo", payload="again")).result(WAIT) == "again"
        assert not psutil.pid_exists(status.pid)
    finally:
        workers.stop(0.0)


def answers_wrongly(connection: object, lane_name: str, settings: WorkerSettings) -> None:
    """Runs in the child: every call is answered with pictures it was not asked for."""

    def serve(call: object, session: object) -> ThumbnailsMade:
        return ThumbnailsMade({}, {7: b"x"})

    call_server.serve = serve  # type: ignore[attr-defined]
    call_server.main(connection, lane_name, settings)  # type: ignore[arg-type]


def test_an_answer_of_the_wrong_form_fails_its_call_at_the_seam(
    settings: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexd.worker.child.call_server.main", answers_wrongly)
    workers = LocalWorkers(settings, lambda _kind, _text: None)
    try:
        call = workers.submit(MakeThumbnails(((b"/x.png", b"hash"),), str(tmp_path), 64))
        with pytest.raises(WorkerBug, match=r"wrong result for MakeThumbnails: images \[7\] of 1 are in it"):
            call.result(WAIT)
        # The worker and its lane live on.
        assert isinstance(workers.submit(SelfTest("echo")).result(WAIT), ThumbnailsMade)
    finally:
        workers.stop(0.0)


def _face(row: int) -> FoundRegion:
    return FoundRegion("face", "eyes", 0.1, 0.1, 0.5, 0.5, 0.9, 64, row=row)


TWO = EmbedText("bge", ("a", "b"))


@pytest.mark.parametrize(
    ("call", "result", "word"),
    [
        (TWO, Embedded(UNIT, "m"), None),
        (TWO, Embedded(UNIT[:1], "m"), "1 vectors for 2"),
        (TWO, Embedded(UNIT.astype(np.float64), "m"), "float64"),
        (TWO, Embedded(UNIT[0], "m"), "shape (8,)"),
        (TWO, Embedded(UNIT * np.float32(3), "m"), "length 3"),
        (TWO, Embedded(np.full((2, 8), np.nan, np.float32), "m"), "length nan"),
        (TWO, Embedded(np.full((2, 8), np.inf, np.float32), "m"), "length inf"),
        (TWO, Embedded(np.full((2, 8), np.nan, np.float32), "m", {0: "bad", 1: "bad"}), None),
        (TWO, Embedded(UNIT, "m", {2: "bad"}), "number 2 of 2"),
        (TWO, None, "NoneType instead of Embedded"),
        (EmbedImages("clip_h", (b"a",)), Embedded(UNIT, "m"), "2 vectors for 1"),
        (FindFaces((b"a",)), FacesFound(((_face(0),),), UNIT, "m", "eyes"), None),
        (FindFaces((b"a",)), FacesFound((), UNIT, "m", "eyes"), "0 lists of regions for 1"),
        (FindFaces((b"a",)), FacesFound(((_face(2),),), UNIT, "m", "eyes"), "beyond the 2"),
        (FindFaces((b"a",)), FacesFound(((),), UNIT, "m", "eyes", {3: "bad"}), "beyond the 1"),
        (render_call(), Rendered(b"\x89PNG\r\n\x1a\nmore", recipe(), {}), None),
        (render_call(), Rendered(b"", recipe(), {}), "no PNG"),
    ],
)
def test_what_an_answer_must_look_like(call: AnyCall, result: Any, word: str | None) -> None:
    fault = result_validation.find_result_error(call, result)
    assert fault is None if word is None else word in (fault or "")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IndexStore]:
    with SqliteStore.open(tmp_path / "index.db") as opened:
        yield opened


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dispatch(store: IndexStore, tmp_path: Path, clock: Clock) -> Callable[[FakeWorkers], None]:
    """Drives the layers of prompts until everything that can be done now is done."""
    (tmp_path / "model").write_bytes(b"weights")
    settings = WorkerSettings({"bge": ModelSpec("bge", str(tmp_path / "model"), batch_size=4)}, str(tmp_path))
    made: dict[int, IndexDispatcher] = {}

    def drive(workers: FakeWorkers) -> None:
        workers.settings = settings
        one = made.setdefault(
            id(workers), IndexDispatcher(store, workers, settings, ThumbnailTarget("/nowhere", 64), now=clock)
        )
        for _ in range(MAX_ATTEMPTS + 1):
            while one.step():
                pass
            clock.now += RETRY_SECONDS * (MAX_ATTEMPTS + 1)

    return drive


def _prompts(store: IndexStore, *prompts: str) -> list[int]:
    library = Library(store, store.roots.ensure(b"/pictures", "images"))
    batch = [library.sighting(f"{prompt}.png", prompt=prompt, stages=("bge_prompt",)) for prompt in prompts]
    return [recorded.image_id or 0 for recorded in store.images.ingest(batch, 1.0)]


def _spoils(how: Callable[[Embedded], Embedded]) -> Callable[[AnyCall, Any], Any]:
    """Answers to calls with the word "poison" are spoiled, whoever else is in the batch."""

    def twist(call: AnyCall, result: Any) -> Any:
        return how(result) if isinstance(call, EmbedText) and "poison" in call.texts else result

    return twist


@pytest.mark.parametrize(
    "how",
    [
        lambda good: Embedded(good.vectors[:, :-1].copy(), good.identity),
        lambda good: Embedded(np.full_like(good.vectors, np.nan), good.identity),
        lambda good: Embedded(good.vectors[1:], good.identity),
        lambda good: Embedded(unit_vectors(len(good.vectors), 2 * good.vectors.shape[1]), good.identity),
    ],
    ids=["narrower and too short", "no numbers", "one too few", "wider than the others of this model"],
)
def test_wrong_vectors_are_counted_and_set_aside_and_the_rest_goes_on(
    store: IndexStore, dispatch: Callable[[FakeWorkers], None], how: Callable[[Embedded], Embedded]
) -> None:
    workers = FakeWorkers()
    (first,) = _prompts(store, "the first, whose model says how wide vectors are")
    dispatch(workers)
    assert store.vectors.get("bge_prompt", first) is not None
    workers.tamper = _spoils(how)
    ids = _prompts(store, "one", "two", "poison", "three")
    dispatch(workers)
    assert store.index_tasks.counts() == {"bge_prompt": {"failed": 1}}
    (row,) = store.index_tasks.of_image(ids[2])
    assert row.attempts == MAX_ATTEMPTS
    assert all(store.vectors.get("bge_prompt", one) is not None for one in ids if one != ids[2])


def test_what_kills_the_worker_every_time_is_set_aside_and_the_rest_goes_on(
    store: IndexStore, dispatch: Callable[[FakeWorkers], None]
) -> None:
    workers = FakeWorkers()
    ids = _prompts(store, "one", "two", "poison", "three", "four", "five")
    for _ in range(2 * MAX_ATTEMPTS):
        workers.fail_next(WorkerDied("killed"), lambda call: isinstance(call, EmbedText) and "poison" in call.texts)
    dispatch(workers)
    assert store.index_tasks.counts() == {"bge_prompt": {"failed": 1}}
    assert all(store.vectors.get("bge_prompt", one) is not None for one in ids if one != ids[2])


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on another process's memory is Linux")
def test_a_worker_at_the_end_of_its_memory_says_so_and_lives(settings: WorkerSettings, tmp_path: Path) -> None:
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    Image.new("RGB", (7000, 7000)).save(large)
    Image.new("RGB", (64, 64), "red").save(small)

    def thumbnails(path: Path, name: bytes) -> MakeThumbnails:
        return MakeThumbnails(((os.fsencode(path), name * 32),), str(tmp_path / "thumbnails"), 128)

    deaths: list[str] = []
    workers = LocalWorkers(settings, lambda _kind, text: deaths.append(text))
    try:
        assert workers.submit(thumbnails(small, b"a")).result(WAIT).problems == {}
        (status,) = [one for one in workers.status() if one.pid]
        assert status.pid is not None
        used = psutil.Process(status.pid).memory_info().vms
        resource.prlimit(status.pid, resource.RLIMIT_AS, (used + (32 << 20), resource.RLIM_INFINITY))
        with pytest.raises(OutOfMemory):
            workers.submit(thumbnails(large, b"b")).result(WAIT)
        assert workers.submit(thumbnails(small, b"c")).result(WAIT).problems == {}
    finally:
        workers.stop(0.0)
    assert deaths == []
