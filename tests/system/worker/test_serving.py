"""The whole seam with real models: one process a lane, residents, keep-alive, urgent calls in the middle of a render."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from indexd.errors import CallCancelled, ModelUnavailable, WorkerDied
from indexd.worker.calls import (
    CallProgress,
    EmbedImages,
    EmbedText,
    MakeThumbnails,
    ModelSpec,
    Priority,
    Render,
    VerifyModel,
    WorkerSettings,
)
from indexd.worker.local_workers import LocalWorkers
from tests.support.processes import has_loaded_torch
from tests.support.recipes import render_call
from tests.support.tiny_models.models import TinyModels

WAIT = 300.0
MANY_STEPS = 500


@pytest.fixture(scope="module")
def settings(tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> WorkerSettings:
    paths = {"generator": tiny_models.sdxl, "bge": tiny_models.bge, "clip_h": tiny_models.clip_h}
    specs = {role: ModelSpec(role, str(path), keep_alive_seconds=None) for role, path in paths.items()}
    specs["bge"] = replace(specs["bge"], query_device="cpu", keep_alive_seconds=0.5)
    specs["clip_l"] = ModelSpec("clip_l", "/nowhere")
    return WorkerSettings(specs, cache_folder=str(tmp_path_factory.mktemp("cache")), threads=1)


@pytest.fixture(scope="module")
def workers(settings: WorkerSettings) -> Iterator[LocalWorkers]:
    """One for the whole module: importing torch in a child takes seconds."""
    workers = LocalWorkers(settings)
    yield workers
    workers.stop(0.0)


def render(models: TinyModels, steps: int = 2, seed: int = 1) -> Render:
    return render_call(models.sdxl, seed=seed, width=64, height=64, steps=steps, cfg=5.0, sampler="Euler")


def in_hand() -> tuple[threading.Event, Callable[[CallProgress], None]]:
    event = threading.Event()
    return event, lambda _progress: event.set()


def test_embedding_and_rendering_share_the_card_process(
    workers: LocalWorkers, tiny_models: TinyModels, tmp_path: Path
) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    texts = workers.submit(EmbedText("bge", ("a fox", "a cat"))).result(WAIT)
    assert texts.vectors.shape == (2, 64)
    assert np.linalg.norm(texts.vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    pictures = workers.submit(EmbedImages("clip_h", (os.fsencode(tmp_path / "a.png"),))).result(WAIT)
    assert pictures.problems == {}
    first = workers.submit(render(tiny_models)).result(WAIT)
    assert first.encoded.startswith(b"\x89PNG")
    assert workers.submit(render(tiny_models)).result(WAIT).encoded == first.encoded
    (lane,) = [status for status in workers.status() if status.lane == "gpu"]
    assert {"clip_h", "generator"} <= set(lane.models)


def test_an_urgent_question_is_answered_in_the_middle_of_a_render(
    workers: LocalWorkers, tiny_models: TinyModels
) -> None:
    begun, listener = in_hand()
    long = workers.submit(render(tiny_models, steps=MANY_STEPS), on_progress=listener)
    assert begun.wait(WAIT)
    asked = workers.submit(EmbedText("clip_h", ("a fox",)), priority=Priority.URGENT)
    assert asked.result(WAIT).vectors.shape == (1, 64)
    assert not long.done()
    long.cancel()
    with pytest.raises(CallCancelled):
        long.result(WAIT)


def test_cancel_takes_effect_within_one_step(workers: LocalWorkers, tiny_models: TinyModels) -> None:
    told: list[CallProgress] = []
    begun, listener = in_hand()

    def both(progress: CallProgress) -> None:
        told.append(progress)
        listener(progress)

    call = workers.submit(render(tiny_models, steps=MANY_STEPS), on_progress=both)
    assert begun.wait(WAIT)
    call.cancel()
    with pytest.raises(CallCancelled):
        call.result(WAIT)
    assert told[-1].done < MANY_STEPS / 2


def test_questions_on_the_cpu_neither_wake_nor_wait_for_the_card(
    workers: LocalWorkers, tiny_models: TinyModels
) -> None:
    asked = workers.submit(EmbedText("bge", ("a fox",), as_query=True), priority=Priority.URGENT).result(WAIT)
    plain = workers.submit(EmbedText("bge", ("a fox",))).result(WAIT)
    assert asked.identity == plain.identity
    lanes = {status.lane: status for status in workers.status()}
    assert lanes["cpu"].pid != lanes["gpu"].pid


def test_a_lane_leaves_when_its_models_have_outlived_their_keep_alive(workers: LocalWorkers) -> None:
    workers.submit(EmbedText("bge", ("a fox",), as_query=True)).result(WAIT)
    (lane,) = [status for status in workers.status() if status.lane == "cpu"]
    assert lane.pid is not None
    psutil.Process(lane.pid).wait(WAIT)
    assert [status.deaths for status in workers.status() if status.lane == "cpu"] == [0]


def test_a_role_whose_model_is_missing_is_off_with_a_sentence(workers: LocalWorkers) -> None:
    for role, reason in (("clip_l", "there is nothing at /nowhere"), ("clip_g", "no model is set for it")):
        with pytest.raises(ModelUnavailable, match=f"{role} is off, because {reason}"):
            workers.submit(EmbedText(role, ("x",))).result(WAIT)


def test_verify_names_the_revision(workers: LocalWorkers) -> None:
    assert workers.submit(VerifyModel("bge")).result(WAIT).identity.startswith("bge/")
    assert workers.submit(VerifyModel("generator")).result(WAIT).identity.startswith("generator/")


def test_the_decode_lane_has_no_torch(workers: LocalWorkers, tmp_path: Path) -> None:
    Image.new("RGB", (640, 320), "blue").save(tmp_path / "a.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    jobs = tuple((os.fsencode(tmp_path / name), name.encode().ljust(32)) for name in ("a.png", "bad.png"))
    made = workers.submit(MakeThumbnails(jobs, str(tmp_path / "thumbnails"), 64)).result(WAIT)
    assert set(made.problems) == {1}
    assert made.perceptual_hashes == {0: b""}
    (thumbnail,) = (tmp_path / "thumbnails").rglob("*.webp")
    assert max(Image.open(thumbnail).size) == 64
    (lane,) = [status for status in workers.status() if status.lane == "decode"]
    assert lane.pid is not None
    assert not has_loaded_torch(lane.pid)


def test_a_killed_card_process_is_replaced_and_gives_the_same_picture(
    workers: LocalWorkers, tiny_models: TinyModels
) -> None:
    before = workers.submit(render(tiny_models, seed=5)).result(WAIT).encoded
    begun, listener = in_hand()
    call = workers.submit(render(tiny_models, steps=MANY_STEPS), on_progress=listener)
    assert begun.wait(WAIT)
    (pid,) = [status.pid for status in workers.status() if status.lane == "gpu"]
    assert pid is not None
    psutil.Process(pid).kill()
    with pytest.raises(WorkerDied):
        call.result(WAIT)
    assert workers.submit(render(tiny_models, seed=5)).result(WAIT).encoded == before
