"""Prompts weighted, cut and brought to one length as ComfyUI does it (`prompt_syntax: comfyui`)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from indexd.generate.diffusion.conditioning import StepConditioning
from indexd.generate.sampling.step_position import StepPosition
from indexd.generate.sdxl.prompt_chunks import split_into_chunks
from indexd.generate.sdxl.text_encoding import TextEncoders
from indexd.generate.sdxl.textual_inversion import NO_TEXTUAL_INVERSIONS
from indexd.prompts.step_prompts import weighted_texts

# The tiny tokenizer makes one token of a letter, so this has more than 75 and less than 150.
LONG = "the quick brown fox jumps over the lazy dog and then walks home through rain, wind, snow and fog, thinking"


@pytest.fixture(scope="module")
def pipeline(tiny_models: Any) -> Any:
    return StableDiffusionXLPipeline.from_pretrained(tiny_models.sdxl, dtype=torch.float32, add_watermarker=False)


@pytest.fixture(scope="module")
def encoders(pipeline: Any) -> TextEncoders:
    return TextEncoders(pipeline)


def encode(encoders: TextEncoders, prompt: str, negative: str = "") -> StepConditioning:
    told = encoders.build_conditioning(
        prompt, negative, guided=True, clip_skip=None, adapters=(), syntax="comfyui"
    ).at_step(StepPosition(0, 1))
    assert told.negative is not None
    return told


def hidden(encoders: TextEncoders, prompt: str) -> torch.Tensor:
    made: torch.Tensor = encode(encoders, prompt).positive[0][0].hidden
    return made


def test_an_empty_negative_prompt_is_encoded(encoders: TextEncoders) -> None:
    made = encode(encoders, "a red cat").negative
    assert made is not None
    assert torch.equal(made.hidden, hidden(encoders, ""))
    assert float(made.hidden.abs().max()) > 0


def test_a_weight_moves_tokens_away_from_the_empty_prompt(encoders: TextEncoders) -> None:
    plain, empty = hidden(encoders, "a b"), hidden(encoders, "")
    # The start token, a, b.
    made = hidden(encoders, "(a:1.5) b")
    expected = plain.clone()
    expected[:, 1] = empty[:, 1] + 1.5 * (plain[:, 1] - empty[:, 1])
    assert torch.allclose(made, expected, atol=1e-6)
    assert torch.equal(made[:, 2:], plain[:, 2:])
    pooled = [encode(encoders, text).positive[0][0].pooled for text in ("a b", "(a:1.5) b")]
    assert torch.equal(*pooled)


def test_square_brackets_and_switches_are_text(encoders: TextEncoders) -> None:
    assert not torch.equal(hidden(encoders, "[ab]"), hidden(encoders, "ab"))
    told = encoders.build_conditioning(
        "[ab:c:0.5] AND d", "", guided=False, clip_skip=None, adapters=(), syntax="comfyui"
    )
    assert told.at_step(StepPosition(0, 4)) is told.at_step(StepPosition(3, 4))
    assert len(told.at_step(StepPosition(0, 4)).positive) == 1


def test_the_shorter_text_is_repeated_instead_of_padded(encoders: TextEncoders) -> None:
    made = encode(encoders, LONG, "blurry")
    assert made.negative is not None
    assert made.positive[0][0].hidden.shape[1] == made.negative.hidden.shape[1] == 2 * 77
    short = hidden(encoders, "blurry")
    assert torch.equal(made.negative.hidden, torch.cat([short, short], dim=1))


def test_a_short_piece_is_not_cut(pipeline: Any) -> None:
    def lengths(prompt: str) -> list[int]:
        pieces = weighted_texts(prompt, "comfyui")
        chunks = split_into_chunks(pipeline.tokenizer, pieces, NO_TEXTUAL_INVERSIONS, at_commas=False, whole_below=8)
        return [len(chunk.tokens) for chunk in chunks]

    assert lengths("a" * 72 + "(bcdefgh:1.2)") == [72, 7]
    assert lengths("a" * 72 + "(bcdefghi:1.2)") == [75, 5]
    assert lengths("a" * 68 + "(bcdefgh:1.2)") == [75]


def test_the_recipe_makes_the_image_again_and_differs_from_a1111s(studio: Any) -> None:
    made = studio(prompt="a (red:1.4) cat", negative_prompt="", prompt_syntax="comfyui")
    assert studio.render(made.recipe).encoded == made.encoded
    assert studio(prompt="a (red:1.4) cat", negative_prompt="", prompt_syntax="a1111").encoded != made.encoded
