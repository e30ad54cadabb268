"""Checks that the pipeline follows prompts: held-out prompts through diffusers' SDXL pipeline on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from indexd_toyworld.captions import full_caption
from indexd_toyworld.evaluate.clip_judge import ClipJudge
from indexd_toyworld.evaluate.contact_sheet import make_sheet
from indexd_toyworld.evaluate.metrics import EvaluationResult, Metric, OnEvaluationProgress
from indexd_toyworld.evaluate.pixel_judge import find_background, find_colour
from indexd_toyworld.model_paths import toy_models
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.world import Scene

SEED = 730
PROMPTS = 200
PAIRS = 60
SHOWN = 24
SIDE = 64
STEPS, GUIDANCE = 20, 4.0
MIN_ACCURACY, MAX_SECONDS = 0.9, 2.0
"""The bars."""
THREADS = 2
BATCH = 20
"""Images per batch; single images take three times as long on networks this small."""
TIMED = 9


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """The scene of a prompt and the generated image."""

    scene: Scene
    image: Image.Image

    @property
    def pixels(self) -> np.ndarray:
        return np.asarray(self.image)


def evaluate(weights: Path, progress: OnEvaluationProgress) -> EvaluationResult:
    """Generates 200 prompts of one thing or face, and 60 of two."""
    judge = ClipJudge(weights)
    pipeline = load_pipeline(weights)
    wanted = held_out_scenes(PROMPTS, 1)

    def drawing(done: int) -> None:
        progress("drawing held-out prompts", done, PROMPTS + PAIRS)

    with torch_threads(THREADS):
        seconds = _seconds_per_image(pipeline, wanted[:TIMED])
        single = _generate_scenes(pipeline, wanted, drawing)
        pairs = _generate_scenes(pipeline, held_out_scenes(PAIRS, 2), lambda done: drawing(PROMPTS + done))
    what = f"{STEPS} steps, guidance {GUIDANCE:g}"
    return EvaluationResult(
        title="Generation",
        metrics=(
            Metric(
                "background",
                _share_correct(_backgrounds_correct(single)),
                minimum=MIN_ACCURACY,
                remark=f"told from pixels; {PROMPTS} held-out prompts, {what}",
            ),
            Metric("colour", _share_correct(_colours_correct(single)), minimum=MIN_ACCURACY, remark="told from pixels"),
            Metric(
                "shape or identity",
                _share_correct(_subjects_correct(judge, single)),
                minimum=MIN_ACCURACY,
                remark="told by the toy CLIP",
            ),
            Metric("shape", _share_correct(_judged_correct(judge, single, "shape"))),
            Metric("identity", _share_correct(_judged_correct(judge, single, "identity"))),
            Metric("expression", _share_correct(_judged_correct(judge, single, "expression"))),
            Metric(
                "background, two in an image",
                _share_correct(_backgrounds_correct(pairs)),
                remark=f"{PAIRS} held-out prompts",
            ),
            Metric("colour, two in an image", _share_correct(_colours_correct(pairs)), remark="both have to be right"),
            Metric(
                "time per image", seconds, maximum=MAX_SECONDS, unit="s", remark=f"{SIDE}x{SIDE}, {THREADS} threads"
            ),
        ),
        sheets={
            "generation": make_sheet(
                [each.image for each in (*single[: SHOWN - 6], *pairs[:6])],
                [full_caption(each.scene) for each in (*single[: SHOWN - 6], *pairs[:6])],
            )
        },
    )


def load_pipeline(weights: Path) -> Any:
    """The pipeline of `weights` in float32, without progress bars."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        toy_models(weights).sdxl, torch_dtype=torch.float32, add_watermarker=False, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def held_out_scenes(count: int, items: int) -> list[Scene]:
    """Scenes without flaws and with `each` things or faces, half of each kind."""
    pool = [scene for scene in scenes(SEED, 20 * count, split="held_out") if not scene.flaw]
    things = [scene for scene in pool if len(scene.things) == items][: count // 2]
    faces = [scene for scene in pool if len(scene.faces) == items][: count - count // 2]
    return [scene for pair in zip(things, faces, strict=True) for scene in pair]


def generate_images(
    pipeline: Any,
    prompts: Sequence[str],
    first_seed: int,
    progress: Callable[[int], None] | None = None,
    steps: int = STEPS,
    **more: Any,
) -> list[Image.Image]:
    """One image for each prompt, BATCH at a time; prompt n has the seed `first_seed` + n.

    `progress` receives the count. `more` goes to the pipeline; a list in it has one entry for each prompt.
    """
    made: list[Image.Image] = []
    for at in range(0, len(prompts), BATCH):
        if progress is not None:
            progress(at)
        part = slice(at, at + BATCH)
        own = {name: value[part] if isinstance(value, list) else value for name, value in more.items()}
        seeds = range(first_seed + at, first_seed + at + len(prompts[part]))
        made += pipeline(
            list(prompts[part]),
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            height=SIDE,
            width=SIDE,
            num_inference_steps=steps,
            **{"guidance_scale": GUIDANCE, **own},
        ).images
    return made


def _generate_scenes(pipeline: Any, wanted: Sequence[Scene], progress: Callable[[int], None]) -> list[GeneratedImage]:
    """One image for each scene, from its full caption."""
    made = generate_images(pipeline, [full_caption(scene) for scene in wanted], 0, progress)
    return [GeneratedImage(scene, image) for scene, image in zip(wanted, made, strict=True)]


def _seconds_per_image(pipeline: Any, wanted: Sequence[Scene]) -> float:
    """Seconds of a single image, as in a job with one image; excludes the first."""
    began = 0.0
    for number, scene in enumerate(wanted):
        if number == 1:
            began = time.perf_counter()
        generate_images(pipeline, [full_caption(scene)], number)
    return (time.perf_counter() - began) / (len(wanted) - 1)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Sets the number of torch threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _backgrounds_correct(images: Sequence[GeneratedImage]) -> list[bool]:
    return [find_background(each.pixels) == each.scene.background for each in images]


def _colours_correct(images: Sequence[GeneratedImage]) -> list[bool]:
    return [
        all(
            find_colour(each.pixels, thing, each.scene.background, len(each.scene.things)) == thing.colour
            for thing in each.scene.things
        )
        for each in images
        if each.scene.things
    ]


def _subjects_correct(judge: ClipJudge, images: Sequence[GeneratedImage]) -> list[bool]:
    return _judged_correct(judge, images, "shape") + _judged_correct(judge, images, "identity")


def _judged_correct(judge: ClipJudge, images: Sequence[GeneratedImage], kind: str) -> list[bool]:
    """Whether the judge sees the requested attribute, for images that have it."""
    asked = [(each, each.scene.things if kind == "shape" else each.scene.faces) for each in images]
    kept = [each for each, things in asked if things]
    answers = judge.classify([each.image for each in kept], kind)
    return [said == _expected_answer(each.scene, kind) for said, each in zip(answers, kept, strict=True)]


def _expected_answer(scene: Scene, kind: str) -> str:
    if kind == "shape":
        return scene.things[0].shape
    return scene.faces[0].who if kind == "identity" else scene.faces[0].expression


def _share_correct(answers: Sequence[bool]) -> float:
    return float(np.mean(answers)) if answers else float("nan")
