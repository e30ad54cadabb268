"""The toy CLIP as a zero-shot classifier of images, loaded by indexd's own code."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexd.models.clip_vision import load_clip_vision
from indexd.worker.calls import ModelSpec
from indexd_toyworld.model_paths import toy_models
from indexd_toyworld.zero_shot_texts import ANSWERS, templates

JudgeVectors = NDArray[np.float32]

BATCH = 64


class ClipJudge:
    """The model `weights`/clip_h, with text vectors of every answer averaged over templates."""

    def __init__(self, weights: Path) -> None:
        with tempfile.TemporaryDirectory() as cache:
            spec = ModelSpec("clip_h", str(toy_models(weights).clip_h), device="cpu", dtype="float32", batch_size=BATCH)
            self._model = load_clip_vision(spec, cache)

    def embed_texts(self, texts: Sequence[str]) -> JudgeVectors:
        """Unit vectors (n, dim) of texts."""
        return self._model.embed_texts(texts, as_query=False, poll=lambda: None)

    def embed_images(self, rgb_images: Sequence[NDArray[np.uint8] | Image.Image]) -> JudgeVectors:
        """Unit vectors (n, dim) of images, given as pixels or as Pillow RGB images."""
        images = [Image.fromarray(one) if isinstance(one, np.ndarray) else one for one in rgb_images]
        parts = [self._model.embed_images(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
        return np.concatenate(parts)

    def classify(self, images: Sequence[NDArray[np.uint8] | Image.Image], kind: str) -> list[str]:
        """The best answer of KINDS[kind] for each image."""
        return self.classify_vectors(self.embed_images(images), kind)

    def classify_vectors(self, vectors: JudgeVectors, kind: str) -> list[str]:
        """The best answer for each image vector."""
        best = (vectors @ self._classes[kind].T).argmax(axis=1)
        return [ANSWERS[kind][place] for place in best]

    @cached_property
    def _classes(self) -> dict[str, JudgeVectors]:
        """One vector for each answer: the mean over its templates, combined with all other possible content."""
        found = {}
        for kind, answers in ANSWERS.items():
            means = np.stack([self.embed_texts(templates(kind, answer)).mean(axis=0) for answer in answers])
            found[kind] = means - means.mean(axis=0)  # the common part of all answers does not separate them
        return found
