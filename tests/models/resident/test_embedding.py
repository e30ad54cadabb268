"""The embedding models against direct calls of their libraries, on tiny models of the real architectures."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from indexd.errors import CallCancelled, ModelUnavailable
from indexd.models.bge import QUERY_PREFIX
from indexd.models.model_pool import ModelPool
from indexd.models.serve_embed import embed_images, embed_text
from indexd.models.serve_verify import verify_model
from indexd.models.token_windows import EmbeddingArray
from indexd.worker.calls import Embedded, EmbedImages, EmbedText, ModelSpec, VerifyModel, WorkerSettings
from tests.support.tiny_models.models import TinyModels

T = TypeVar("T")
TEXTS = (
    "a red fox in the snow",
    "Portrait of an old man, 35mm, (masterpiece:1.2)",
    "",
    "猫 in a box — ünïcödé 🦊",
    "masterpiece",
)
LONG = "a very long prompt about a red fox, " * 40
ROLES = ("bge", "clip_l", "clip_g", "clip_h")


class PlainSession:
    """A session in this process, on the CPU."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.pool = ModelPool()
        self.settings = settings
        self.steps = 0
        self.cancel_at: int | None = None

    def spec(self, role: str) -> ModelSpec:
        if role not in self.settings.models:
            raise ModelUnavailable(role, "no model is set for it")
        return self.settings.models[role]

    def poll(self) -> None:
        self.steps += 1
        if self.steps == self.cancel_at:
            raise CallCancelled("cancelled")

    def raise_if_cancelled(self) -> None:
        """Cancelled between steps only."""

    def progress(self, stage: str, done: int, total: int) -> None:
        assert 0 < done <= total


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def settings(tiny_models: TinyModels, tmp_path: Path) -> WorkerSettings:
    paths = {
        "bge": tiny_models.bge,
        "clip_l": tiny_models.sdxl,
        "clip_g": tiny_models.sdxl,
        "clip_h": tiny_models.clip_h,
    }
    specs = {
        role: ModelSpec(role, str(path), device="cpu", dtype="float32", batch_size=2) for role, path in paths.items()
    }
    return WorkerSettings(models=specs, cache_folder=str(tmp_path / "cache"), threads=1)


@pytest.fixture
def session(settings: WorkerSettings) -> PlainSession:
    return PlainSession(settings)


def cosines(one: EmbeddingArray, two: Any) -> Any:
    two = np.asarray(two, np.float32)
    return (one * (two / np.linalg.norm(two, axis=1, keepdims=True))).sum(axis=1)


def reference(role: str, models: TinyModels, texts: list[str]) -> Any:
    """The library's own vectors of texts that fit in one window."""
    with torch.inference_mode():
        if role == "bge":
            model = SentenceTransformer(str(models.bge), device="cpu", model_kwargs={"dtype": torch.float32})
            return model.encode(texts)
        if role == "clip_h":
            vision, _, _ = open_clip.create_model_and_transforms(f"local-dir:{models.clip_h}")
            return vision.eval().encode_text(open_clip.get_tokenizer(f"local-dir:{models.clip_h}")(texts)).numpy()
        folders = ("text_encoder", "tokenizer") if role == "clip_l" else ("text_encoder_2", "tokenizer_2")
        kind = CLIPTextModel if role == "clip_l" else CLIPTextModelWithProjection
        text_model = kind.from_pretrained(models.sdxl / folders[0], dtype=torch.float32).eval()
        tokenizer = CLIPTokenizer.from_pretrained(models.sdxl / folders[1])
        ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        output = text_model(ids)
        return (output.pooler_output if role == "clip_l" else output.text_embeds).numpy()


@pytest.mark.parametrize("role", ROLES)
def test_texts_equal_the_librarys_own(role: str, session: PlainSession, tiny_models: TinyModels) -> None:
    answer = embed_text(EmbedText(role, TEXTS), session)
    assert answer.problems == {}
    assert answer.vectors.dtype == np.float32
    assert np.linalg.norm(answer.vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert cosines(answer.vectors, reference(role, tiny_models, list(TEXTS))).min() >= 0.9999


@pytest.mark.parametrize("role", ROLES)
def test_texts_differ(role: str, session: PlainSession) -> None:
    """Otherwise the comparison above would hold for a model that answers the same to everything."""
    vectors = embed_text(EmbedText(role, TEXTS), session).vectors
    assert np.triu(vectors @ vectors.T, 1).max() < 0.9999


@pytest.mark.parametrize(("role", "window"), [("bge", 510), ("clip_l", 75), ("clip_g", 75), ("clip_h", 75)])
def test_long_texts_are_windows_averaged_by_length(
    role: str, window: int, session: PlainSession, tiny_models: TinyModels
) -> None:
    """Texts of one token a letter: their windows are texts themselves, which the library embeds whole."""
    letters = ("abcdefghij" * 200)[: window * 2 + window // 2]
    text = " ".join(letters)
    parts = [" ".join(letters[start : start + window]) for start in range(0, len(letters), window)]
    whole = embed_text(EmbedText(role, (text,)), session).vectors
    single = reference(role, tiny_models, parts)
    single = single / np.linalg.norm(single, axis=1, keepdims=True)
    weights = np.array([1.0, 1.0, (window // 2) / window])
    assert cosines(whole, (single * weights[:, None]).sum(axis=0, keepdims=True)).min() >= 0.9999


@pytest.mark.parametrize("role", ROLES)
def test_the_end_of_a_long_text_counts(role: str, session: PlainSession) -> None:
    vectors = embed_text(EmbedText(role, (LONG, LONG + "zebra " * 20)), session).vectors
    assert vectors[0] @ vectors[1] < 0.99999


def test_queries_get_the_prefix_and_prompts_do_not(session: PlainSession, tiny_models: TinyModels) -> None:
    plain = embed_text(EmbedText("bge", ("a fox",)), session).vectors
    asked = embed_text(EmbedText("bge", ("a fox",), as_query=True), session).vectors
    with_prefix = reference("bge", tiny_models, [QUERY_PREFIX + "a fox"])
    assert cosines(asked, with_prefix).min() >= 0.9999
    assert cosines(plain, with_prefix).max() < 0.9999


def test_a_prefix_in_the_settings_replaces_the_models_own(settings: WorkerSettings) -> None:
    specs = {"bge": replace(settings.models["bge"], query_prefix="")}
    session = PlainSession(replace(settings, models=specs))
    plain = embed_text(EmbedText("bge", ("a fox",)), session).vectors
    assert np.array_equal(plain, embed_text(EmbedText("bge", ("a fox",), as_query=True), session).vectors)


def picture(path: Path, seed: int, size: tuple[int, int] = (80, 60)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path).encode()


def test_pictures_equal_the_librarys_own(session: PlainSession, tiny_models: TinyModels, tmp_path: Path) -> None:
    paths = tuple(picture(tmp_path / f"{n}.png", n, (60 + 30 * n, 60)) for n in range(5))
    answer = embed_images(EmbedImages("clip_h", paths), session)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_models.clip_h}")
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(path.decode())) for path in paths])
        wanted = model.eval().encode_image(pixels).numpy()
    assert answer.problems == {}
    assert cosines(answer.vectors, wanted).min() >= 0.9999
    assert np.triu(answer.vectors @ answer.vectors.T, 1).max() < 0.9999


def test_words_and_pictures_share_a_space(session: PlainSession, tmp_path: Path) -> None:
    texts = embed_text(EmbedText("clip_h", ("a fox",)), session)
    pictures = embed_images(EmbedImages("clip_h", (picture(tmp_path / "a.png", 1),)), session)
    assert texts.vectors.shape == pictures.vectors.shape
    assert texts.identity == pictures.identity


def test_a_bad_picture_costs_its_own_row_only(session: PlainSession, tmp_path: Path) -> None:
    good = picture(tmp_path / "a.png", 1)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    paths = (good, str(tmp_path / "bad.png").encode(), good, str(tmp_path / "none.png").encode())
    answer = embed_images(EmbedImages("clip_h", paths), session)
    assert set(answer.problems) == {1, 3}
    assert np.isnan(answer.vectors[[1, 3]]).all()
    assert np.array_equal(answer.vectors[0], answer.vectors[2])


def test_a_bare_weights_file_needs_its_architecture(
    settings: WorkerSettings, tiny_models: TinyModels, tmp_path: Path
) -> None:
    weights = str(tiny_models.clip_h / "open_clip_model.safetensors")
    for architecture in ("", "ViT-Nothing"):
        spec = replace(settings.models["clip_h"], path=weights, architecture=architecture)
        with pytest.raises(ModelUnavailable, match="bare weights file"):
            embed_text(EmbedText("clip_h", ("x",)), PlainSession(replace(settings, models={"clip_h": spec})))


def test_a_bare_weights_file_with_its_architecture_is_the_same_model(
    settings: WorkerSettings, tiny_models: TinyModels, tmp_path: Path, session: PlainSession
) -> None:
    configuration = tmp_path / "tiny-vit.json"
    model_cfg = open_clip.factory.json.loads((tiny_models.clip_h / "open_clip_config.json").read_text())["model_cfg"]
    configuration.write_text(open_clip.factory.json.dumps(model_cfg))
    open_clip.add_model_config(configuration)
    weights = str(tiny_models.clip_h / "open_clip_model.safetensors")
    spec = replace(settings.models["clip_h"], path=weights, architecture="tiny-vit")
    answer = embed_text(EmbedText("clip_h", TEXTS), PlainSession(replace(settings, models={"clip_h": spec})))
    assert np.array_equal(answer.vectors, embed_text(EmbedText("clip_h", TEXTS), session).vectors)


@pytest.mark.parametrize("role", ROLES)
def test_the_half_precision_of_a_card_stays_near(role: str, settings: WorkerSettings, session: PlainSession) -> None:
    half = {role: replace(settings.models[role], dtype="bfloat16")}
    rough = embed_text(EmbedText(role, TEXTS), PlainSession(replace(settings, models=half)))
    exact = embed_text(EmbedText(role, TEXTS), session)
    assert rough.identity == exact.identity
    assert (rough.vectors * exact.vectors).sum(axis=1).min() > 0.99


@pytest.mark.parametrize("role", ROLES)
def test_no_texts_tell_the_identity(role: str, session: PlainSession) -> None:
    answer = embed_text(EmbedText(role, ()), session)
    assert answer.vectors.shape == (0, embed_text(EmbedText(role, ("x",)), session).vectors.shape[1])
    assert answer.identity.startswith(f"{role}/")


def test_cancel_takes_effect_between_batches(session: PlainSession) -> None:
    session.cancel_at = 2
    with pytest.raises(CallCancelled):
        embed_text(EmbedText("bge", TEXTS), session)
    assert session.steps == 2


@pytest.mark.parametrize("role", ROLES)
def test_what_is_no_model_is_off_with_a_sentence(role: str, settings: WorkerSettings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, reason in ((tmp_path / "none", "there is nothing at"), (tmp_path / "empty", "is no .* folder")):
        spec = replace(settings.models[role], path=str(path))
        with pytest.raises(ModelUnavailable, match=f"^{role} is off, because .*{reason}"):
            embed_text(EmbedText(role, ("x",)), PlainSession(replace(settings, models={role: spec})))
    with pytest.raises(ModelUnavailable, match=f"{role} is off, because no model is set"):
        embed_text(EmbedText(role, ("x",)), PlainSession(replace(settings, models={})))


@pytest.mark.parametrize(
    ("role", "file"),
    [
        ("bge", "model.safetensors"),
        ("clip_l", "text_encoder/model.safetensors"),
        ("clip_g", "text_encoder_2/config.json"),
        ("clip_h", "open_clip_model.safetensors"),
    ],
)
def test_a_damaged_model_is_off_with_a_sentence(
    role: str, file: str, settings: WorkerSettings, tmp_path: Path, copy_of: Callable[[str], Path]
) -> None:
    folder = copy_of(settings.models[role].path)
    (folder / file).write_bytes(b"\x00" * 100)
    spec = replace(settings.models[role], path=str(folder))
    with pytest.raises(ModelUnavailable, match=f"{role} is off, because .* cannot be loaded: .+") as caught:
        embed_text(EmbedText(role, ("x",)), PlainSession(replace(settings, models={role: spec})))
    assert "\n" not in str(caught.value)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    import shutil

    return lambda path: Path(shutil.copytree(path, tmp_path / "copy"))


def test_other_weights_are_another_identity(
    settings: WorkerSettings, session: PlainSession, copy_of: Callable[[str], Path]
) -> None:
    folder = copy_of(settings.models["clip_h"].path)
    weights = folder / "open_clip_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    spec = replace(settings.models["clip_h"], path=str(folder))
    other = embed_text(EmbedText("clip_h", ("x",)), PlainSession(replace(settings, models={"clip_h": spec})))
    assert other.identity != embed_text(EmbedText("clip_h", ("x",)), session).identity


def test_pictures_need_a_model_that_sees(session: PlainSession, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="embeds texts only"):
        embed_images(EmbedImages("bge", (picture(tmp_path / "a.png", 1),)), session)


@pytest.mark.parametrize("role", ROLES)
def test_verify_says_what_was_loaded(role: str, session: PlainSession, settings: WorkerSettings) -> None:
    verified = verify_model(VerifyModel(role), session)
    assert verified.identity.startswith(f"{role}/")
    assert "float32 on cpu" in verified.detail
    assert settings.models[role].path in verified.detail


def test_a_session_is_what_the_protocol_asks(session: PlainSession) -> None:
    lease: AbstractContextManager[int] = session.pool.lease("x", "x", lambda: 1, 0.0)
    with lease as value:
        assert value == 1
    assert isinstance(embed_text(EmbedText("bge", ("x",)), session), Embedded)
