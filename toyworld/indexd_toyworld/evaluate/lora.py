"""Checks that the LoRA draws its character and leaves the others unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexd_toyworld.captions import full_caption
from indexd_toyworld.drawing import draw
from indexd_toyworld.evaluate.clip_judge import ClipJudge
from indexd_toyworld.evaluate.contact_sheet import make_sheet
from indexd_toyworld.evaluate.generation import generate_images, load_pipeline
from indexd_toyworld.evaluate.metrics import EvaluationResult, Metric, OnEvaluationProgress
from indexd_toyworld.model_paths import toy_models
from indexd_toyworld.scene_sampling import unnamed_portraits
from indexd_toyworld.train.lora import DIFFUSERS_NAME, IMAGES, RANK, WHO
from indexd_toyworld.world import BACKGROUNDS, CHARACTERS, EXPRESSIONS, UNKNOWN_CHARACTERS, Scene, named_face

SEED = 810
PROMPTS = 40
MIN_LIKENESS = 0.8
SHOWN = 6
RANDOM_PEOPLE, DRAWINGS = 100, 40
"""People drawn by lot, and drawings of each person."""
PEOPLE = (*CHARACTERS, *UNKNOWN_CHARACTERS)


def evaluate(weights: Path, progress: OnEvaluationProgress) -> EvaluationResult:
    """40 prompts for the trained character and 40 for the others, without and with the LoRA. The toy CLIP identifies a face by
    vectors averaged over drawings: among the twelve characters, and among these and 100 strangers. Without strangers, an
    unknown face would be nearest to one of the two characters that the judge never saw.
    """
    judge = ClipJudge(weights)
    progress("meeting people", 0, 2 * PROMPTS)
    means = _mean_vectors(judge)
    pipeline = load_pipeline(weights)
    scenes = [*portraits([WHO], PROMPTS), *portraits(tuple(CHARACTERS), PROMPTS)]
    prompts = [full_caption(scene) for scene in scenes]
    made: dict[str, list[Image.Image]] = {}
    for name in ("without", "with"):
        if name == "with":
            pipeline.load_lora_weights(toy_models(weights).loras, weight_name=DIFFUSERS_NAME)
        made[name] = generate_images(pipeline, prompts, SEED, _progress_of(name, progress))
    vectors = {name: judge.embed_images(faces) for name, faces in made.items()}
    wanted = [scene.faces[0].who for scene in scenes]
    right = {name: np.array(_nearest_person(means, rows)) == np.array(wanted) for name, rows in vectors.items()}
    few = {who: means[who] for who in PEOPLE}
    of_twelve = {name: np.array(_nearest_person(few, rows[:PROMPTS])) == WHO for name, rows in vectors.items()}
    taught = means[WHO] / np.linalg.norm(means[WHO])
    alike = {name: float((rows[:PROMPTS] @ taught).mean()) for name, rows in vectors.items()}
    shown = [*range(SHOWN), *range(PROMPTS, PROMPTS + SHOWN)]
    return EvaluationResult(
        title="LoRA",
        metrics=(
            Metric(
                f"{WHO} is who it looks like most, with the LoRA",
                float(right["with"][:PROMPTS].mean()),
                minimum=MIN_LIKENESS,
                remark=f"nearest of {len(means)} people, so that chance is {1 / len(means):.3f}; rank {RANK}, trained on "
                f"{IMAGES} images; {PROMPTS} prompts",
            ),
            Metric(f"{WHO} without it", float(right["without"][:PROMPTS].mean()), remark="the same prompts and seeds"),
            Metric(
                f"{WHO}, nearest of {len(PEOPLE)}, with it",
                float(of_twelve["with"].mean()),
                minimum=MIN_LIKENESS,
                remark="without the strangers",
            ),
            Metric(f"{WHO}, nearest of {len(PEOPLE)}, without it", float(of_twelve["without"].mean())),
            Metric(f"likeness of {WHO} with it", alike["with"], remark="cosine to the mean of drawings of her"),
            Metric(f"likeness of {WHO} without it", alike["without"]),
            Metric("known characters with it", float(right["with"][PROMPTS:].mean()), remark=f"{PROMPTS} prompts"),
            Metric("known characters without it", float(right["without"][PROMPTS:].mean())),
        ),
        sheets={
            "lora": make_sheet(
                [made[name][place] for name in made for place in shown],
                [f"{wanted[place]} {name}" for name in made for place in shown],
            )
        },
    )


def portraits(people: list[str] | tuple[str, ...], count: int) -> list[Scene]:
    """Portraits of these people in turn, with every expression and background."""
    grounds = tuple(BACKGROUNDS)
    return [
        Scene(
            grounds[number % len(grounds)],
            faces=(named_face(people[number % len(people)], EXPRESSIONS[number // len(people) % len(EXPRESSIONS)]),),
            seed=SEED + number,
        )
        for number in range(count)
    ]


def _progress_of(name: str, progress: OnEvaluationProgress) -> Callable[[int], None]:
    return lambda done: progress(f"drawing {name} the LoRA", done, 2 * PROMPTS)


def _mean_vectors(judge: ClipJudge) -> dict[str, NDArray[np.float32]]:
    """Mean vectors of the twelve characters and the strangers, by name."""
    seen = {who: portraits([who], DRAWINGS) for who in PEOPLE}
    for number, stranger in enumerate(unnamed_portraits(SEED, RANDOM_PEOPLE)):
        look = stranger.faces[0].look
        seen[f"stranger {number}"] = [
            replace(scene, faces=(replace(scene.faces[0], look=look),)) for scene in portraits([WHO], DRAWINGS)
        ]
    return {who: judge.embed_images([draw(scene) for scene in scenes]).mean(axis=0) for who, scenes in seen.items()}


def _nearest_person(means: Mapping[str, NDArray[np.float32]], vectors: NDArray[np.float32]) -> list[str]:
    """The nearest by cosine to the means, after subtracting the mean of the twelve."""
    shared = np.mean([means[who] for who in PEOPLE], axis=0)
    centres = np.stack([mean - shared for mean in means.values()])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    names = list(means)
    return [names[place] for place in ((vectors - shared) @ centres.T).argmax(axis=1)]
