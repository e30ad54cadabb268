"""Scores of a finished picture, against numbers worked out by hand and against the embedding calls."""

from __future__ import annotations

import gc
import io
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file

from indexd.errors import RenderFailed
from indexd.generate.output.scores import apply_aesthetic_head, plain_prompt, sharpness
from indexd.models.serve_embed import embed_images, embed_text
from indexd.worker.calls import EmbedImages, EmbedText, ModelSpec, WorkerSettings
from indexd_schemas.recipe import Recipe
from tests.models.generate.conftest import ScriptedSession, Studio, recipe_data


class JudgingSession(ScriptedSession):
    """A session that knows where clip_h lies."""

    def __init__(self, cache: Path, clip_h: Path, head: str = "") -> None:
        super().__init__(cache)
        self.settings = WorkerSettings({}, str(cache), aesthetic=head)
        self._clip_h = clip_h

    def spec(self, role: str) -> ModelSpec:
        path = str(self._clip_h) if role == "clip_h" else ""
        return ModelSpec(role, path, device="cpu", dtype="float32", keep_alive_seconds=None)


def test_scores_are_those_of_the_embedder_and_the_head(tmp_path: Path, tiny_models: Any) -> None:
    first = JudgingSession(tmp_path, tiny_models.clip_h)
    dim = embed_text(EmbedText("clip_h", ("a",)), first).vectors.shape[1]
    head = tmp_path / "liking.safetensors"
    save_file({"weight": torch.linspace(-1, 1, dim)[None], "bias": torch.tensor([5.0])}, head)
    session = JudgingSession(tmp_path, tiny_models.clip_h, str(head))
    prompt = "a (red:1.3) [star:moon:0.5] " + "and a very long tale of a cat " * 20
    studio = Studio(session, tiny_models)
    recipe = studio.recipe(prompt=prompt, prompt_syntax="a1111", score=["clip", "aesthetic", "sharpness"])
    made = studio.render(recipe)
    file = tmp_path / "made.png"
    file.write_bytes(made.encoded)
    picture = embed_images(EmbedImages("clip_h", (str(file).encode(),)), session)
    words = "a red moon " + ("and a very long tale of a cat " * 20).strip()
    text = embed_text(EmbedText("clip_h", (words,)), session)
    scores = recipe_data(made)["scores"]
    assert list(scores) == ["clip", "aesthetic", "sharpness"]
    assert scores["clip"]["value"] == pytest.approx(float(picture.vectors[0] @ text.vectors[0]), abs=1e-5)
    assert scores["clip"]["model"] == picture.identity
    expected = float(np.linspace(-1, 1, dim, dtype=np.float32) @ picture.vectors[0]) + 5
    assert scores["aesthetic"]["value"] == pytest.approx(expected, abs=1e-3)
    assert scores["aesthetic"]["model"].startswith(f"{picture.identity}+liking/")
    with Image.open(io.BytesIO(made.encoded)) as opened:
        assert scores["sharpness"] == {"value": sharpness(opened), "model": None}
        assert Recipe.model_validate_json(opened.info["indexd"]).scores is not None


def test_the_checkpoint_makes_room_for_what_judges(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    studio()
    checkpoint = weakref.ref(studio.resident().pipeline.unet)
    left = []

    def judged(recipe: Recipe, _picture: Image.Image, session: Any) -> Recipe:
        while session.pool._evict_one():
            pass
        gc.collect()
        left.append(checkpoint())
        return recipe

    monkeypatch.setattr("indexd.generate.output.scores.score_image", judged)
    studio(score=["clip"])
    assert left == [None]


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    assert sharpness(Image.new("RGB", (64, 64), "red")) == 0.0
    dot = Image.new("L", (5, 5), 0)
    dot.putpixel((2, 2), 100)
    # Inside (3 x 3): -400 in the middle, 100 at its four neighbours, 0 at the corners: mean 0.
    assert sharpness(dot) == pytest.approx((400**2 + 4 * 100**2) / 9)
    noisy = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))
    assert sharpness(noisy) > 10 * sharpness(noisy.filter(ImageFilter.GaussianBlur(2)))
    assert sharpness(Image.new("L", (2, 9))) == 0.0


def test_a_head_of_several_layers(tmp_path: Path) -> None:
    head = tmp_path / "head.safetensors"
    tensors = {
        "layers.0.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]]), "layers.0.bias": torch.zeros(3),
        "layers.2.weight": torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]), "layers.2.bias": torch.tensor([0.5, 0.0]),
        "layers.10.weight": torch.tensor([[1.0, 1.0]]), "layers.10.bias": torch.tensor([-1.0]),
    }  # fmt: skip
    save_file(tensors, head)
    vector = np.array([1.0, -2.0], np.float32)
    # (1, -2, -3) -> (1 - 4 - 9 + .5, -3) -> -11.5 - 3 - 1
    assert apply_aesthetic_head(head, vector) == pytest.approx(-15.5)
    save_file(tensors, head, metadata={"activation": "relu"})
    # (1, 0, 0) -> (1.5, 0) -> .5
    assert apply_aesthetic_head(head, vector) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"weight": torch.ones(1, 768)}, "its first layer takes 768 numbers, and gets 4 (the width of clip_h)"),
        ({"0.weight": torch.ones(3, 4), "2.weight": torch.ones(1, 2)}, "layer 2 takes 2 numbers, and gets 3"),
        ({"weight": torch.ones(2, 4)}, "does not end in one number"),
        ({"bias": torch.ones(1)}, "does not end in one number"),
        ({"weight": torch.full((1, 4), float("nan"))}, "does not end in one number"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(tmp_path: Path, tensors: dict[str, Any], sentence: str) -> None:
    head = tmp_path / "head.safetensors"
    save_file(tensors, head)
    with pytest.raises(RenderFailed) as refused:
        apply_aesthetic_head(head, np.ones(4, np.float32))
    assert sentence in str(refused.value)


def test_a_head_that_is_no_such_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(RenderFailed, match="cannot be read"):
        apply_aesthetic_head(tmp_path / "head.safetensors", np.ones(4, np.float32))


@pytest.mark.parametrize(
    ("prompt", "syntax", "words"),
    [
        ("a (red:1.3) cat", "a1111", "a red cat"),
        ("a (red:1.3) cat", "plain", "a (red:1.3) cat"),
        ("a [star:moon:0.5] BREAK sea AND boat :0.4", "a1111", "a moon sea boat"),
    ],
)
def test_the_prompt_as_words(studio: Studio, prompt: str, syntax: str, words: str) -> None:
    recipe = studio.recipe(prompt=prompt, prompt_syntax=syntax)
    assert plain_prompt(Recipe.model_validate(recipe)) == words
