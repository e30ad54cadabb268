"""Conditioning over the steps: against numbers worked out by hand, and against compel where both can say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compel import Compel, ReturnedEmbeddingsType  # type: ignore[import-untyped]
from compel.embeddings_provider import SplitLongTextMode  # type: ignore[import-untyped]
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from indexd.errors import RenderFailed
from indexd.generate.diffusion.conditioning import StepConditioning
from indexd.generate.sampling.step_position import StepPosition
from indexd.generate.sdxl.text_encoding import TextEncoders, apply_emphasis
from indexd.generate.sdxl.textual_inversion import TextualInversions, load_textual_inversions
from tests.models.generate.conftest import recipe_data

LONG = "the quick brown fox jumps over the lazy dog and then walks home through rain wind snow and fog thinking"


@pytest.fixture(scope="module")
def pipeline(tiny_models: Any) -> Any:
    return StableDiffusionXLPipeline.from_pretrained(tiny_models.sdxl, dtype=torch.float32, add_watermarker=False)


@pytest.fixture
def encoders(pipeline: Any) -> TextEncoders:
    return TextEncoders(pipeline)


def told(
    encoders: TextEncoders, prompt: str, negative: str = "", step: int = 0, steps: int = 10, **more: Any
) -> StepConditioning:
    asked = {"guided": True, "clip_skip": None, "adapters": (), "syntax": "a1111", **more}
    return encoders.build_conditioning(prompt, negative, **asked).at_step(StepPosition(step, steps))


def hidden(encoders: TextEncoders, prompt: str, **more: Any) -> torch.Tensor:
    [(text, _)] = told(encoders, prompt, **more).positive
    return text.hidden


def test_weights_by_hand() -> None:
    """Two tokens of two numbers: mean 2.5 before; after 2x the second token 5/1, 3 -> (1+2+6+8)/4 = 4.25."""
    plain = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    made = apply_emphasis(plain, [1.0, 2.0])
    assert torch.allclose(made, torch.tensor([[[1.0, 2.0], [6.0, 8.0]]]) * 2.5 / 4.25)
    assert made.mean().item() == pytest.approx(2.5)
    assert apply_emphasis(plain, [1.0, 1.0]) is plain
    assert torch.equal(apply_emphasis(plain, [0.0, 0.0]), torch.zeros(1, 2, 2))


def test_weights_are_a_tokens_own_and_each_encoders_mean_comes_back(encoders: TextEncoders) -> None:
    plain, made = hidden(encoders, "a b c"), hidden(encoders, "a (b:1.4) c")
    first, _ = encoders.widths
    for part in (slice(0, first), slice(first, None)):
        scaled = plain[..., part].clone()
        scaled[:, 2] *= 1.4  # the begin mark, a, b
        expected = scaled * (plain[..., part].mean() / scaled.mean())
        assert torch.allclose(made[..., part], expected, atol=1e-5)
        assert made[..., part].mean().item() == pytest.approx(plain[..., part].mean().item(), abs=1e-5)


def test_weights_of_one_and_brackets_that_cancel_change_nothing(encoders: TextEncoders) -> None:
    assert torch.equal(hidden(encoders, "a (b:1.0) c"), hidden(encoders, "a b c"))
    assert torch.equal(hidden(encoders, r"a \(b\) c"), hidden(encoders, "a (b) c", syntax="plain"))


def test_weights_leave_the_pooled_vector_alone(encoders: TextEncoders) -> None:
    assert torch.equal(
        told(encoders, "a (b:1.4) c").positive[0][0].pooled, told(encoders, "a b c").positive[0][0].pooled
    )


def test_a_chunk_restores_its_own_mean(encoders: TextEncoders) -> None:
    both = hidden(encoders, "a (b:1.4) BREAK c d")
    assert torch.equal(both[:, :77], hidden(encoders, "a (b:1.4) "))
    assert torch.equal(both[:, 77:], hidden(encoders, "c d"))


def test_the_texts_follow_the_steps(encoders: TextEncoders) -> None:
    made = [hidden(encoders, "a [b:c:0.5] [d|e]", step=step, steps=4) for step in range(4)]
    texts = ["a b d", "a b e", "a c d", "a c e"]
    assert all(torch.equal(one, hidden(encoders, text)) for one, text in zip(made, texts, strict=True))


def test_the_negative_prompt_follows_the_steps_too(encoders: TextEncoders) -> None:
    first, second = (told(encoders, "a", "[b:3]", step=step).negative for step in (2, 3))
    assert first is not None
    assert second is not None
    assert not first.hidden.any()  # empty, which is zero as in the library
    assert torch.equal(second.hidden, hidden(encoders, "b"))


def test_texts_joined_by_and_are_rows_with_their_weights(encoders: TextEncoders) -> None:
    made = told(encoders, f"a b AND {LONG} :0.5 AND c", "x")
    assert [weight for _, weight in made.positive] == [1, 0.5, 1]
    assert made.negative is not None
    lengths = {text.hidden.shape[1] for text, _ in made.positive} | {made.negative.hidden.shape[1]}
    assert lengths == {154}
    assert torch.equal(made.positive[0][0].hidden[:, :77], hidden(encoders, "a b"))
    assert torch.equal(made.positive[0][0].hidden[:, 77:], hidden(encoders, ""))


def test_equal_moments_are_the_same_tensors(encoders: TextEncoders) -> None:
    asked: Any = {"guided": True, "clip_skip": None, "adapters": (), "syntax": "a1111"}
    conditioning = encoders.build_conditioning("[a:b:5]", "x", **asked)
    conditioning.encode_ahead(10)
    assert conditioning.at_step(StepPosition(0, 10)) is conditioning.at_step(StepPosition(4, 10))
    assert conditioning.at_step(StepPosition(5, 10)) is conditioning.at_step(StepPosition(9, 10))
    again = encoders.build_conditioning("[a:b:5]", "x", **asked).at_step(StepPosition(7, 10))
    assert again.positive[0][0].hidden is conditioning.at_step(StepPosition(7, 10)).positive[0][0].hidden


# --- compel


@pytest.fixture(scope="module")
def compel(pipeline: Any) -> Compel:
    return Compel(
        tokenizer=[pipeline.tokenizer, pipeline.tokenizer_2],
        text_encoder=[pipeline.text_encoder, pipeline.text_encoder_2],
        returned_embeddings_type=ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED,
        requires_pooled=[False, True],
        truncate_long_prompts=False,
        split_long_text_mode=SplitLongTextMode.BRUTAL,
    )


@pytest.mark.parametrize("prompt", ["a red cat", "", LONG, f"{LONG} {LONG[::-1]}"])
def test_compel_says_the_same_of_unweighted_text_of_any_length(
    encoders: TextEncoders, compel: Compel, prompt: str
) -> None:
    theirs, pooled = compel(prompt)
    [(ours, _)] = told(encoders, prompt).positive
    assert ours.hidden.shape == theirs.shape
    assert torch.allclose(ours.hidden, theirs, atol=1e-5)
    assert torch.allclose(ours.pooled, pooled, atol=1e-5)


@pytest.mark.parametrize(("a1111", "theirs"), [("a (red:1.5) cat", "a (red)1.5 cat"), ("(a:1.2) b", "(a)1.2 b")])
def test_compel_weighs_the_same_tokens(encoders: TextEncoders, compel: Compel, a1111: str, theirs: str) -> None:
    """compel moves a token along the line from the empty prompt: z' = e + w (z - e). What is w z in it is ours."""
    words, weights = compel(theirs)[0], torch.ones(77)
    plain, empty = compel(a1111.replace("(", "").replace(":1.5)", "").replace(":1.2)", ""))[0], compel("")[0]
    weight = 1.5 if "1.5" in a1111 else 1.2
    weights[((words - plain).abs().amax(-1) > 1e-5)[0]] = weight
    assert 0 < int((weights != 1).sum()) < 10
    product = words + (weights - 1)[None, :, None] * empty
    first, _ = encoders.widths
    ours = hidden(encoders, a1111)
    for part in (slice(0, first), slice(first, None)):
        factor = plain[..., part].mean() / product[..., part].mean()
        assert torch.allclose(ours[..., part], product[..., part] * factor, atol=1e-4)


# --- embeddings


def embedding_file(folder: Path, widths: tuple[int, int], name: str = "glow", **more: torch.Tensor) -> Path:
    chance = torch.Generator().manual_seed(3)
    made = {
        key: torch.randn(2, width, generator=chance) for key, width in zip(("clip_l", "clip_g"), widths, strict=True)
    }
    path = folder / f"{name}.safetensors"
    save_file({**made, **more}, path)
    return path


def test_an_embedding_is_seen_instead_of_its_word(encoders: TextEncoders, pipeline: Any, tmp_path: Path) -> None:
    """The vectors are those of two tokens of the vocabulary, so the text with these tokens says the same."""
    tokens = pipeline.tokenizer("x y", add_special_tokens=False).input_ids
    assert len(tokens) == 2
    tables = [encoder.get_input_embeddings().weight for encoder in (pipeline.text_encoder, pipeline.text_encoder_2)]
    vectors = {key: table[tokens].clone() for key, table in zip(("clip_l", "clip_g"), tables, strict=True)}
    path = embedding_file(tmp_path, encoders.widths, **vectors)
    found = load_textual_inversions({"sub/glow": str(path)}, encoders.widths, pickle_allowed=False)
    for prompt, words in (("a Glow b", "a x y b"), ("a (glow:1.3), b", "a (x y:1.3), b"), ("glow", "x y")):
        ours, theirs = (told(encoders, text, embeddings=found).positive[0][0] for text in (prompt, words))
        assert torch.equal(ours.hidden, theirs.hidden)
        assert torch.equal(ours.pooled, theirs.pooled)
    assert not torch.equal(hidden(encoders, "a glow b"), hidden(encoders, "a glow b", embeddings=found))
    assert not pipeline.text_encoder.get_input_embeddings()._forward_hooks


def test_other_embeddings_are_another_entry_of_the_cache(encoders: TextEncoders, tmp_path: Path) -> None:
    first = load_textual_inversions(
        {"glow": str(embedding_file(tmp_path, encoders.widths))}, encoders.widths, pickle_allowed=False
    )
    changed = embedding_file(tmp_path, encoders.widths, clip_l=torch.ones(2, encoders.widths[0]))
    second = load_textual_inversions({"glow": str(changed)}, encoders.widths, pickle_allowed=False)
    assert not torch.equal(hidden(encoders, "glow", embeddings=first), hidden(encoders, "glow", embeddings=second))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.safetensors", None, "cannot be read"),
        ("x.safetensors", b"junk", "cannot be read"),
        ("x.pt", b"\x80\x04", "can carry code"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RenderFailed, match=sentence):
        load_textual_inversions({"glow": str(tmp_path / name)}, (4, 6), pickle_allowed=False)


def test_embeddings_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file({"emb_params": torch.ones(2, 4)}, tmp_path / "old.safetensors")
    with pytest.raises(RenderFailed, match="has no clip_l vectors; it was not made for SDXL"):
        load_textual_inversions({"old": str(tmp_path / "old.safetensors")}, (4, 6), pickle_allowed=False)
    with pytest.raises(RenderFailed, match="does not fit this model"):
        load_textual_inversions({"glow": str(embedding_file(tmp_path, (4, 6)))}, (8, 6), pickle_allowed=False)
    damaged = {"clip_l": torch.ones(1, 4), "clip_g": torch.full((1, 6), float("inf"))}
    save_file(damaged, tmp_path / "damaged.safetensors")
    with pytest.raises(RenderFailed, match="embedding damaged is damaged: it has values that are no numbers in clip_g"):
        load_textual_inversions({"damaged": str(tmp_path / "damaged.safetensors")}, (4, 6), pickle_allowed=False)


def test_a_pickle_is_read_where_the_settings_allow_it_and_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"clip_l": torch.ones(1, 4), "clip_g": torch.ones(1, 6)}, tmp_path / "good.pt")
    torch.save({"clip_l": Evil()}, tmp_path / "evil.pt")
    found = load_textual_inversions({"good": str(tmp_path / "good.pt")}, (4, 6), pickle_allowed=True)
    assert isinstance(found, TextualInversions)
    assert found.vector_count("good") == 1
    with pytest.raises(RenderFailed, match="cannot be read"):
        load_textual_inversions({"evil": str(tmp_path / "evil.pt")}, (4, 6), pickle_allowed=True)
    assert not (tmp_path / "ran").exists()


# --- whole pictures


def test_pictures_follow_the_prompt_and_repeat(studio: Any, look: Any) -> None:
    def made(prompt: str, **more: Any) -> Any:
        return studio(prompt=prompt, steps=4, prompt_syntax="a1111", **more)

    a, b, switched = made("a red cat"), made("a blue dog"), made("[a red cat:a blue dog:2]")
    assert len({a.encoded, b.encoded, switched.encoded}) == 3
    assert (look(made("[a red cat:a blue dog:4]")) == look(a)).all()
    assert (look(made("[a red cat:a blue dog:0]")) == look(b)).all()
    again = studio(**recipe_data(switched))
    assert again.encoded == switched.encoded
    both = made("a red cat AND a blue dog :0.5")
    assert both.encoded not in (a.encoded, b.encoded)
    assert (look(made("a red cat AND a blue dog :0")) == look(a)).mean() > 0.99
    assert made("a (red:1.5) cat").encoded != a.encoded


def test_a_picture_with_an_embedding_says_so(studio: Any, tmp_path: Path) -> None:
    from indexd_schemas.recipe_part import FileKey

    studio(steps=1)
    path = embedding_file(tmp_path, studio.resident().encoders.widths)
    found = load_textual_inversions({"glow": str(path)}, studio.resident().encoders.widths, pickle_allowed=False)
    use = {"name": "glow", "hash": found.by_word["glow"].hash}
    recipe = studio.recipe(prompt="a glow cat", steps=2, prompt_syntax="a1111", embeddings=[use])

    def made(recipe: Any, **files: Path) -> Any:
        return studio.render(recipe, {FileKey("embedding", name): path for name, path in files.items()})

    one = made(recipe, glow=path)
    assert one.encoded == made(one.recipe, glow=path).encoded
    assert one.encoded != made({**recipe, "embeddings": []}).encoded
    assert f'TI hashes: "glow: {use["hash"]}"'.encode() in one.encoded
    with pytest.raises(RenderFailed, match="embedding glow has no file"):
        made(recipe)
    with pytest.raises(RenderFailed, match="embedding glow is not the file that the recipe was made with"):
        made({**recipe, "embeddings": [{"name": "glow", "hash": "0" * 10}]}, glow=path)


def test_an_embedding_in_a_lora_file_is_used_by_its_word(studio: Any, tmp_path: Path, look: Any) -> None:
    """OneTrainer's form; the image is that of the same LoRA with the embedding as a file of its own."""
    from indexd_schemas.recipe_part import FileKey

    studio(steps=1)
    path = embedding_file(tmp_path, studio.resident().encoders.widths)
    vectors, plain = load_file(path), load_file(studio.models.lora)
    bundle = {f"bundle_emb.mytok.{key}": vectors[key] for key in ("clip_l", "clip_g")}
    save_file(plain | bundle, tmp_path / "both.safetensors")
    lora = [{"name": "x"}]
    found = load_textual_inversions({"mytok": str(path)}, studio.resident().encoders.widths, pickle_allowed=False)
    use = {"name": "mytok", "hash": found.by_word["mytok"].hash}

    def made(prompt: str, lora_file: Path, **more: Any) -> Any:
        files = {FileKey("lora", "x"): lora_file, FileKey("embedding", "mytok"): path}
        recipe = studio.recipe(prompt=prompt, steps=2, prompt_syntax="a1111", loras=lora, **more)
        return look(studio.render(recipe, files))

    bundled = made("a mytok cat", tmp_path / "both.safetensors")
    alone = made("a mytok cat", studio.models.lora, embeddings=[use])
    assert (bundled == alone).all()
    assert (bundled != made("a mytok cat", studio.models.lora)).any()
    assert (made("a cat", tmp_path / "both.safetensors") == made("a cat", studio.models.lora)).all()
