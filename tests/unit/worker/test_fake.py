"""The fake that other rooms lean on keeps what it says."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexd.errors import CallCancelled, ModelUnavailable, WorkerDied
from indexd.worker.calls import CallProgress, EmbedImages, EmbedText, MakeThumbnails, Priority, Render
from indexd.worker.fake_workers import FakeWorkers, text_vector
from tests.support.recipes import render_call


def test_vectors_are_known_and_near_where_words_are_shared(tmp_path: Path) -> None:
    workers = FakeWorkers(known_vectors={"north": [0.0, 1.0], b"/a.png": [1.0, 0.0]}, dim=2)
    assert workers.submit(EmbedText("bge", ("north",))).result(0).vectors.tolist() == [[0.0, 1.0]]
    assert workers.submit(EmbedImages("clip_h", (b"/a.png",))).result(0).vectors.tolist() == [[1.0, 0.0]]
    fox, near, far = (text_vector(text) for text in ("a red fox", "the red fox", "blue whales swim"))
    assert fox @ near > fox @ far
    file = tmp_path / "x"
    file.write_bytes(b"content")
    answer = FakeWorkers().submit(EmbedImages("clip_h", (str(file).encode(), b"/none"))).result(0)
    assert np.linalg.norm(answer.vectors[0]) == pytest.approx(1.0)
    assert set(answer.problems) == {1}


def test_renders_are_pictures_that_depend_on_the_recipe() -> None:
    workers, told = FakeWorkers(), list[CallProgress]()
    made = workers.submit(render_call(), on_progress=told.append).result(0)
    picture = Image.open(io.BytesIO(made.encoded))
    assert picture.size == (16, 8)
    assert picture.text["parameters"] == "a fox"  # type: ignore[attr-defined]
    assert made.encoded == workers.submit(render_call()).result(0).encoded
    assert made.encoded != workers.submit(render_call(seed=2)).result(0).encoded
    assert told
    assert workers.call_counts[Render] == 3


def test_scripted_deaths_happen_once_and_where_they_were_meant() -> None:
    workers = FakeWorkers()
    workers.fail_next(WorkerDied("killed"), lambda call: isinstance(call, Render))
    workers.submit(MakeThumbnails((), "", 1)).result(0)
    with pytest.raises(WorkerDied):
        workers.submit(render_call()).result(0)
    workers.submit(render_call()).result(0)
    assert workers.status()[0].deaths == 1


def test_roles_can_be_off() -> None:
    with pytest.raises(ModelUnavailable, match="bge is off, because it is gone"):
        FakeWorkers(disabled_roles={"bge": "it is gone"}).submit(EmbedText("bge", ("x",))).result(0)


def test_held_calls_wait_can_be_cancelled_and_are_answered_in_order() -> None:
    workers = FakeWorkers()
    workers.hold()
    calls = [workers.submit(EmbedText("bge", (str(n),)), priority=Priority.BACKGROUND) for n in range(4)]
    assert not any(call.done() for call in calls)
    calls[1].cancel()
    with pytest.raises(CallCancelled):
        calls[1].result(0)
    workers.release(1)
    assert [call.done() for call in calls] == [True, True, False, False]
    workers.release()
    assert all(call.done() for call in calls)
    assert workers.submit(EmbedText("bge", ("x",))).done()


def test_stop_fails_what_is_held_and_what_comes() -> None:
    workers = FakeWorkers()
    workers.hold()
    held = workers.submit(EmbedText("bge", ("x",)))
    workers.stop(0.0)
    for call in (held, workers.submit(EmbedText("bge", ("y",)))):
        with pytest.raises(CallCancelled):
            call.result(0)
