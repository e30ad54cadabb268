"""Text-image retrieval on held-out combinations, with the shipped models loaded by indexd's code."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from indexd.models.clip_text import load_clip_text
from indexd.worker.calls import ModelSpec
from indexd_toyworld.captions import caption
from indexd_toyworld.drawing import draw
from indexd_toyworld.evaluate.clip_judge import ClipJudge
from indexd_toyworld.evaluate.contact_sheet import make_sheet
from indexd_toyworld.evaluate.metrics import EvaluationResult, Metric, OnEvaluationProgress
from indexd_toyworld.model_paths import toy_models
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.world import Scene

SEED = 510
PAIRS = 500
IMAGES = 400
"""A kind of question."""
SHOWN = 12
MIN_RECALL, MIN_ZERO_SHOT = 0.95, 0.9
"""The bars."""


def evaluate(weights: Path, progress: OnEvaluationProgress) -> EvaluationResult:
    """Text to image, image to text, five kinds of zero-shot questions, and the pipeline's encoders as text search."""
    judge = ClipJudge(weights)
    progress("searching by words", 0, 3)
    random = Random(SEED)
    pairs = distinct_scenes(SEED, PAIRS)
    images = [draw(scene) for scene in pairs]
    texts = [caption(scene, random, 1.0) for scene in pairs]
    scores = judge.embed_texts(texts) @ judge.embed_images(images).T
    places = _ranks(scores)
    progress("asking what is seen", 1, 3)
    seen = [Metric(f"zero-shot {kind}", value, minimum=MIN_ZERO_SHOT) for kind, value in zero_shot(judge).items()]
    progress("searching with the pipeline's encoders", 2, 3)
    again = [caption(scene, random, 1.0) for scene in pairs]
    encoders = [
        Metric(f"{role}: another caption of the scene R@1", _text_recall(weights, role, texts, again))
        for role in ("clip_l", "clip_g")
    ]
    progress("done", 3, 3)
    best = [Image.fromarray(images[place]) for place in scores[:SHOWN].argmax(axis=1)]
    return EvaluationResult(
        title="Text and images",
        metrics=(
            Metric(
                "text to image R@1",
                float((places == 0).mean()),
                minimum=MIN_RECALL,
                remark=f"{PAIRS} held-out captions that name everything, one match each",
            ),
            Metric("text to image R@5", float((places < 5).mean())),
            Metric("image to text R@1", float((_ranks(scores.T) == 0).mean())),
            *seen,
            *encoders,
        ),
        sheets={"words": make_sheet(best, texts[:SHOWN])},
    )


def distinct_scenes(seed: int, count: int) -> list[Scene]:
    """Held-out scenes without flaws whose full captions all differ."""
    found: dict[Scene, Scene] = {}
    round_ = 0
    while len(found) < count:
        for scene in scenes(seed + round_, count, split="held_out"):
            faces = tuple(sorted((replace(face, place="") for face in scene.faces), key=str))
            if not scene.flaw:
                found.setdefault(replace(scene, faces=faces, seed=0), scene)
        round_ += 1
    return list(found.values())[:count]


def zero_shot(judge: ClipJudge) -> dict[str, float]:
    """Accuracy of each kind of question, over held-out images of one thing or face."""
    pool = [scene for scene in scenes(SEED + 1, 8 * IMAGES, split="held_out") if not scene.flaw]
    things = [scene for scene in pool if len(scene.things) == 1][:IMAGES]
    faces = [scene for scene in pool if len(scene.faces) == 1][:IMAGES]
    of_things = judge.embed_images([draw(scene) for scene in things])
    of_faces = judge.embed_images([draw(scene) for scene in faces])
    both = np.concatenate([of_things, of_faces])
    asked = {
        "colour": (of_things, [scene.things[0].colour for scene in things]),
        "background": (both, [scene.background for scene in things + faces]),
        "shape": (of_things, [scene.things[0].shape for scene in things]),
        "identity": (of_faces, [scene.faces[0].who for scene in faces]),
        "expression": (of_faces, [scene.faces[0].expression for scene in faces]),
    }
    return {
        kind: float(
            np.mean([said == is_ for said, is_ in zip(judge.classify_vectors(vectors, kind), right, strict=True)])
        )
        for kind, (vectors, right) in asked.items()
    }


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Rank of each row's own column, from 0."""
    own = np.diagonal(scores)[:, None]
    places: np.ndarray = (scores > own).sum(axis=1)
    return places


def _text_recall(weights: Path, role: str, texts: list[str], again: list[str]) -> float:
    with tempfile.TemporaryDirectory() as cache:
        spec = ModelSpec(role, str(toy_models(weights).sdxl), device="cpu", dtype="float32")
        model = load_clip_text(spec, cache)
    ours, theirs = (model.embed_texts(part, as_query=False, poll=lambda: None) for part in (texts, again))
    return float((_ranks(ours @ theirs.T) == 0).mean())
