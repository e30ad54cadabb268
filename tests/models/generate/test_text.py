"""Prompts of any length: the library's own numbers where both can say the same, and nothing dropped where they cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from indexd.errors import RenderFailed
from indexd.generate.diffusion.conditioning import StepConditioning
from indexd.generate.sampling.step_position import StepPosition
from indexd.generate.sdxl.text_encoding import EncodedText, TextEncoders

# The tiny tokenizer makes one token of a letter, so these have more than 75.
LONG = "the quick brown fox jumps over the lazy dog and then walks home through rain, wind, snow and fog, thinking"
LONGER = f"{LONG}; {LONG.upper()} again"


@pytest.fixture(scope="module")
def pipeline(tiny_models: Any) -> Any:
    return StableDiffusionXLPipeline.from_pretrained(tiny_models.sdxl, dtype=torch.float32, add_watermarker=False)


@pytest.fixture
def encoders(pipeline: Any) -> TextEncoders:
    return TextEncoders(pipeline)


@dataclass(frozen=True)
class Said:
    """The one text of a moment, and what is to be avoided."""

    prompt: EncodedText
    negative: EncodedText | None


def condition(encoders: TextEncoders, prompt: str, negative: str = "", **named: Any) -> Said:
    told = told_at(encoders, prompt, negative, **named)
    [(text, weight)] = told.positive
    assert weight == 1
    return Said(text, told.negative)


def told_at(
    encoders: TextEncoders, prompt: str, negative: str = "", step: int = 0, steps: int = 1, **named: Any
) -> StepConditioning:
    asked = {"guided": True, "clip_skip": None, "adapters": (), **named}
    return encoders.build_conditioning(prompt, negative, **asked).at_step(StepPosition(step, steps))


def test_a_short_prompt_has_the_librarys_numbers(encoders: TextEncoders, pipeline: Any) -> None:
    made = condition(encoders, "a red cat", "blurry")
    hidden, negative, pooled, negative_pooled = pipeline.encode_prompt("a red cat", negative_prompt="blurry")
    assert made.negative is not None
    assert torch.equal(made.prompt.hidden, hidden)
    assert torch.equal(made.prompt.pooled, pooled)
    assert torch.equal(made.negative.hidden, negative)
    assert torch.equal(made.negative.pooled, negative_pooled)


def test_an_empty_negative_prompt_is_zero_as_in_the_library(encoders: TextEncoders, pipeline: Any) -> None:
    made = condition(encoders, "a red cat")
    _, negative, _, negative_pooled = pipeline.encode_prompt("a red cat")
    assert made.negative is not None
    assert torch.equal(made.negative.hidden, negative)
    assert torch.equal(made.negative.pooled, negative_pooled)


def test_without_guidance_the_negative_prompt_is_not_computed(encoders: TextEncoders) -> None:
    assert condition(encoders, "a", "b", guided=False).negative is None


def test_a_long_prompt_is_laid_out_in_chunks_of_77(encoders: TextEncoders, pipeline: Any) -> None:
    tokens = pipeline.tokenizer(LONG, add_special_tokens=False, verbose=False).input_ids
    assert 75 < len(tokens) <= 150
    made = condition(encoders, LONG)
    assert made.prompt.hidden.shape[1] == 2 * 77


def test_every_chunk_is_what_the_library_makes_of_its_tokens(encoders: TextEncoders, pipeline: Any) -> None:
    made = condition(encoders, LONG).prompt
    column = 0
    for tokenizer, encoder in (
        (pipeline.tokenizer, pipeline.text_encoder),
        (pipeline.tokenizer_2, pipeline.text_encoder_2),
    ):
        tokens = tokenizer(LONG, add_special_tokens=False, verbose=False).input_ids
        for number in range(2):
            piece = tokens[75 * number : 75 * number + 75]
            row = [tokenizer.bos_token_id, *piece, tokenizer.eos_token_id]
            row += [tokenizer.pad_token_id] * (77 - len(row))
            with torch.no_grad():
                answer = encoder(torch.tensor([row]), output_hidden_states=True)
            wide = answer.hidden_states[-2].shape[-1]
            ours = made.hidden[:, 77 * number : 77 * number + 77, column : column + wide]
            assert torch.equal(ours, answer.hidden_states[-2])
            if number == 0 and encoder is pipeline.text_encoder_2:
                assert torch.equal(made.pooled, answer.text_embeds)
        column += wide
    assert column == made.hidden.shape[2]


def test_the_last_word_of_a_long_prompt_counts(encoders: TextEncoders) -> None:
    one, other = condition(encoders, LONGER), condition(encoders, LONGER[:-1] + "m")
    assert one.prompt.hidden.shape[1] >= 3 * 77
    assert not torch.equal(one.prompt.hidden, other.prompt.hidden)
    assert torch.equal(one.prompt.hidden[:, :77], other.prompt.hidden[:, :77])


@pytest.mark.parametrize(("prompt", "negative"), [(LONG, "blurry"), ("cat", LONG), (LONG, "")])
def test_both_sides_have_the_same_length(encoders: TextEncoders, prompt: str, negative: str) -> None:
    made = condition(encoders, prompt, negative)
    assert made.negative is not None
    assert made.prompt.hidden.shape == made.negative.hidden.shape
    assert made.prompt.hidden.shape[1] == 2 * 77


def test_a_text_is_encoded_once_and_then_bit_identical(
    encoders: TextEncoders, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = condition(encoders, "a red cat", "blurry")

    def never(*_given: Any, **_named: Any) -> None:
        raise AssertionError("encoded again")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.text_encoder, "forward", never)
        again = condition(encoders, "a red cat", "blurry")
    assert again.prompt.hidden is first.prompt.hidden
    assert torch.equal(condition(TextEncoders(pipeline), "a red cat").prompt.hidden, first.prompt.hidden)


def test_the_cache_is_bounded(encoders: TextEncoders) -> None:
    for number in range(140):
        condition(encoders, str(number))
    assert len(encoders._cache) == 128


def test_other_adapters_are_another_entry(encoders: TextEncoders) -> None:
    plain = condition(encoders, "a red cat").prompt
    assert condition(encoders, "a red cat", adapters=(("lora0", 1.0),)).prompt is not plain


@pytest.mark.parametrize("skip", [1, 2, 3])
def test_clip_skip_counts_layers_from_the_end(encoders: TextEncoders, pipeline: Any, skip: int) -> None:
    made = condition(encoders, "a red cat", "a dog", clip_skip=skip)
    ids = pipeline.tokenizer("a dog", padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        states = pipeline.text_encoder(ids, output_hidden_states=True).hidden_states
    assert made.negative is not None
    assert torch.equal(made.negative.hidden[..., : states[0].shape[-1]], states[-skip])


def test_clip_skip_two_is_sdxls_own(encoders: TextEncoders) -> None:
    assert torch.equal(
        condition(encoders, "a red cat", clip_skip=2).prompt.hidden, condition(encoders, "a red cat").prompt.hidden
    )


def test_more_layers_than_there_are_is_refused(encoders: TextEncoders) -> None:
    with pytest.raises(RenderFailed, match="clip_skip 4 is deeper"):
        condition(encoders, "a red cat", clip_skip=4)
