"""Checks that an image replaces the prompt: held-out drawings as references, without text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexd_toyworld.captions import full_caption
from indexd_toyworld.drawing import draw
from indexd_toyworld.evaluate.clip_judge import ClipJudge
from indexd_toyworld.evaluate.contact_sheet import make_sheet
from indexd_toyworld.evaluate.generation import generate_images, held_out_scenes, load_pipeline
from indexd_toyworld.evaluate.metrics import EvaluationResult, Metric, OnEvaluationProgress
from indexd_toyworld.evaluate.pixel_judge import find_background, find_colour
from indexd_toyworld.model_paths import toy_models
from indexd_toyworld.world import Scene

IMAGES = 40
SHOWN = 8


def evaluate(weights: Path, progress: OnEvaluationProgress) -> EvaluationResult:
    """Generates one image from each of 40 held-out drawings, half things and half faces, and one without a reference from the same seed."""
    judge = ClipJudge(weights)
    scenes = held_out_scenes(IMAGES, 1)
    drawings = [Image.fromarray(draw(scene)) for scene in scenes]
    pipeline = load_pipeline(weights)
    made: dict[str, list[Image.Image]] = {"without": [], "with": []}
    for number in range(IMAGES):
        progress("without references", number, 2 * IMAGES)
        made["without"].append(_generate_one(pipeline, number))
    file = toy_models(weights).ip_adapter
    pipeline.load_ip_adapter(
        str(file.parent),
        subfolder="",
        weight_name=file.name,
        image_encoder_folder="image_encoder",
        local_files_only=True,
    )
    for number, drawing in enumerate(drawings):
        progress("by references", IMAGES + number, 2 * IMAGES)
        made["with"].append(_generate_one(pipeline, number, ip_adapter_image=drawing))
    right = {name: _accuracy(judge, scenes, drawn) for name, drawn in made.items()}
    remark = f"{IMAGES} held-out drawings, no words, weight 1"
    return EvaluationResult(
        title="References",
        metrics=tuple(
            Metric(f"{kind} is the reference's, {name} it", right[name][kind], remark=remark if name == "with" else "")
            for kind in right["with"]
            for name in ("with", "without")
        ),
        sheets={
            "ip-adapter": make_sheet(
                [*drawings[:SHOWN], *made["with"][:SHOWN], *made["without"][:SHOWN]],
                [
                    *(full_caption(scene) for scene in scenes[:SHOWN]),
                    *(["by it, no words"] * SHOWN),
                    *(["without it"] * SHOWN),
                ],
                across=SHOWN,
            )
        },
    )


def _generate_one(pipeline: Any, seed: int, **more: Any) -> Image.Image:
    (made,) = generate_images(pipeline, [""], seed, negative_prompt="", **more)
    return made


def _accuracy(judge: ClipJudge, scenes: list[Scene], drawn: list[Image.Image]) -> dict[str, float]:
    pairs = list(zip(scenes, drawn, strict=True))
    things = [(scene, image) for scene, image in pairs if scene.things]
    faces = [(scene, image) for scene, image in pairs if scene.faces]
    shapes = judge.classify([image for _, image in things], "shape")
    people = judge.classify([image for _, image in faces], "identity")
    return {
        "background": float(np.mean([find_background(np.asarray(made)) == scene.background for scene, made in pairs])),
        "colour": float(
            np.mean(
                [
                    find_colour(np.asarray(made), scene.things[0], scene.background, 1) == scene.things[0].colour
                    for scene, made in things
                ]
            )
        ),
        "shape": float(
            np.mean([said == scene.things[0].shape for said, (scene, _) in zip(shapes, things, strict=True)])
        ),
        "identity": float(
            np.mean([said == scene.faces[0].who for said, (scene, _) in zip(people, faces, strict=True)])
        ),
    }
