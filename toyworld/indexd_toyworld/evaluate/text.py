"""Paraphrase retrieval by the shipped BGE on held-out scenes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

from indexd.models.bge import load_bge
from indexd.worker.calls import ModelSpec
from indexd_toyworld.captions import caption
from indexd_toyworld.evaluate.meaning import distinct_scenes
from indexd_toyworld.evaluate.metrics import EvaluationResult, Metric, OnEvaluationProgress
from indexd_toyworld.model_paths import toy_models

SEED = 730
PAIRS = 500
MIN_RECALL = 0.95


def evaluate(weights: Path, progress: OnEvaluationProgress) -> EvaluationResult:
    """Paraphrases as prompts, and as queries with indexd's query prefix."""
    with tempfile.TemporaryDirectory() as cache:
        spec = ModelSpec("bge", str(toy_models(weights).bge), device="cpu", dtype="float32")
        model = load_bge(spec, cache)
    random = Random(SEED)
    pairs = distinct_scenes(SEED, PAIRS)
    ours, theirs = ([caption(scene, random, 1.0) for scene in pairs] for _ in range(2))
    prompts = model.embed_texts(theirs, as_query=False, poll=lambda: None)
    found = {}
    for place, as_query in enumerate((False, True)):
        progress("comparing paraphrases", place, 2)
        scores = model.embed_texts(ours, as_query=as_query, poll=lambda: None) @ prompts.T
        found[as_query] = float((scores.argmax(axis=1) == range(len(pairs))).mean())
    return EvaluationResult(
        title="Prompts",
        metrics=(
            Metric(
                "BGE paraphrase R@1",
                found[False],
                minimum=MIN_RECALL,
                remark=f"{PAIRS} held-out scenes, two captions each that name everything",
            ),
            Metric(
                "BGE question R@1", found[True], minimum=MIN_RECALL, remark="the same, one caption asked as a question"
            ),
        ),
    )
