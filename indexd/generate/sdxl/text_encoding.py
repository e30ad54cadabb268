"""Prompts -> SDXL conditioning: both encoders, any length, weights.

A prompt longer than the 75 tokens that CLIP takes is cut into chunks (indexd/generate/sdxl/prompt_chunks.py), each encoded on its own
between its own start and end tokens, and the chunks' hidden states are concatenated, as in A1111 and ComfyUI; the pooled vector
is the first chunk's. The texts of one step are brought to the same number of chunks with empty ones.

Weights follow A1111's "Original" emphasis (modules/sd_emphasis.py): a token's hidden states are multiplied by its weight, then
the chunk, encoder by encoder, by what brings its mean back to what it was. ComfyUI's rule (comfy/sd1_clip.py) is another one: a
token is moved along the line from its place in an empty prompt, and no mean is restored. There an empty negative prompt is
encoded, a piece of fewer than 8 tokens is not cut, and shorter texts are repeated to the length of the longest instead of padded,
which changes nothing in attention. Weights do not touch the pooled vector.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from indexd.errors import RenderFailed
from indexd.generate.diffusion.conditioning import StepConditioning, TextConditioning
from indexd.generate.sdxl.prompt_chunks import PromptChunk, split_into_chunks
from indexd.generate.sdxl.textual_inversion import NO_TEXTUAL_INVERSIONS, TextualInversions, substitute_vectors
from indexd.prompts.step_prompts import PromptScript, StepPrompt, weighted_texts
from indexd_schemas.recipe import PromptSyntax

PENULTIMATE_LAYER = 2
_COMFYUI_WORD_TOKENS = 8
_CACHE_ENTRIES = 128


@dataclass(frozen=True, slots=True)
class EncodedText:
    """One text: `hidden` (1, 77 x chunks, width of both encoders), `pooled` (1, projection of the second)."""

    hidden: torch.Tensor
    pooled: torch.Tensor

    def repeated(self, times: int) -> EncodedText:
        """The hidden states several times, one after the other."""
        return self if times == 1 else EncodedText(self.hidden.repeat(1, times, 1), self.pooled)


@dataclass(frozen=True, slots=True)
class _EncodingOptions:
    """How texts are read and encoded; part of the key under which an encoded text is kept."""

    layer: int
    adapters: tuple[object, ...]
    syntax: PromptSyntax
    embeddings: TextualInversions

    def key(self) -> tuple[object, ...]:
        return (self.layer, self.adapters, self.syntax, self.embeddings.cache_key())


class TextEncoders:
    """The two encoders of one resident pipeline, with the embeddings of the last texts.

    The cached tensors are the computed ones, so a hit is bit-identical. `adapters` in every key names the LoRAs (and
    their text weights) that are active in the encoders: the same text under other LoRAs is another entry.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pairs = (
            (pipeline.tokenizer, pipeline.text_encoder),
            (pipeline.tokenizer_2, pipeline.text_encoder_2),
        )
        self._empty_negative_is_zero = bool(pipeline.config.force_zeros_for_empty_prompt)
        self._cache: OrderedDict[tuple[object, ...], EncodedText] = OrderedDict()

    @property
    def widths(self) -> tuple[int, int]:
        """How wide a token is inside each encoder."""
        first, second = (encoder.config.hidden_size for _, encoder in self._pairs)
        return first, second

    def build_conditioning(
        self,
        prompt: str,
        negative: str,
        *,
        guided: bool,
        clip_skip: int | None,
        adapters: tuple[object, ...],
        syntax: PromptSyntax = "plain",
        embeddings: TextualInversions = NO_TEXTUAL_INVERSIONS,
    ) -> TextConditioning:
        """Conditioning of one render. `clip_skip` counts as A1111 does: 1 = last layer, 2 (and None) = SDXL's own."""
        reading = _EncodingOptions(clip_skip or PENULTIMATE_LAYER, adapters, syntax, embeddings)
        return TextConditioning(
            PromptScript(prompt, negative, syntax), lambda text: self._encode_step(text, guided, reading)
        )

    def _encode_step(self, step_text: StepPrompt, guided: bool, options: _EncodingOptions) -> StepConditioning:
        texts = [part.text for part in step_text.positive] + ([step_text.negative] if guided else [])
        cut = {text: self._split_chunks(text, options) for text in texts}
        if options.syntax == "comfyui":
            return self._encode_as_comfyui(step_text, cut, guided, options)
        length = max(len(chunks) for both in cut.values() for chunks in both)
        rows = [
            (self._encode_text(part.text, cut[part.text], length, options), part.weight) for part in step_text.positive
        ]
        if not guided:
            return StepConditioning(tuple(rows), None)
        if not step_text.negative and self._empty_negative_is_zero:
            like = rows[0][0]
            return StepConditioning(
                tuple(rows), EncodedText(torch.zeros_like(like.hidden), torch.zeros_like(like.pooled))
            )
        return StepConditioning(
            tuple(rows), self._encode_text(step_text.negative, cut[step_text.negative], length, options)
        )

    def _encode_as_comfyui(
        self, step_text: StepPrompt, cut: Mapping[str, list[list[PromptChunk]]], guided: bool, options: _EncodingOptions
    ) -> StepConditioning:
        texts = [step_text.positive[0].text, *([step_text.negative] if guided else [])]
        lengths = [max(map(len, cut[text])) for text in texts]
        whole = math.lcm(*lengths)
        encoded = [
            self._encode_text(text, cut[text], length, options).repeated(whole // length)
            for text, length in zip(texts, lengths, strict=True)
        ]
        return StepConditioning(((encoded[0], 1.0),), encoded[1] if guided else None)

    def _split_chunks(self, text: str, options: _EncodingOptions) -> list[list[PromptChunk]]:
        """The chunks of a text for each encoder."""
        runs = weighted_texts(text, options.syntax)
        at_commas = options.syntax == "a1111"
        whole_below = _COMFYUI_WORD_TOKENS if options.syntax == "comfyui" else 0
        return [
            split_into_chunks(tokenizer, runs, options.embeddings, at_commas=at_commas, whole_below=whole_below)
            for tokenizer, _ in self._pairs
        ]

    def _encode_text(
        self, text: str, encoder_chunks: list[list[PromptChunk]], length: int, options: _EncodingOptions
    ) -> EncodedText:
        key = (text, length, *options.key())
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        parts = [self._encode_chunks(index, chunks, length, options) for index, chunks in enumerate(encoder_chunks)]
        encoded = EncodedText(torch.cat([hidden for hidden, _ in parts], dim=-1), parts[-1][1])
        self._cache[key] = encoded
        while len(self._cache) > _CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return encoded

    def _encode_chunks(
        self, index: int, chunks: Sequence[PromptChunk], length: int, options: _EncodingOptions
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states of all chunks and the first element of the encoder's output (the pooled vector of the second)."""
        tokenizer = self._pairs[index][0]
        hidden: list[torch.Tensor] = []
        first: torch.Tensor | None = None
        for chunk in [*chunks, *[PromptChunk()] * (length - len(chunks))]:
            # One chunk at a time: a chunk's numbers must not depend on how many others there are.
            plain, pooled = self._encode_chunk(index, chunk, options)
            weights = chunk.token_weights(tokenizer)
            if options.syntax != "comfyui":
                hidden.append(apply_emphasis(plain, weights))
            elif all(weight == 1.0 for weight in weights):
                hidden.append(plain)
            else:
                hidden.append(move_from_empty(plain, self._encode_chunk(index, PromptChunk(), options)[0], weights))
            first = pooled if first is None else first
        assert first is not None
        return torch.cat(hidden, dim=1), first

    def _encode_chunk(
        self, index: int, chunk: PromptChunk, options: _EncodingOptions
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states of one chunk without weights, and the first element of the encoder's output."""
        tokenizer, encoder = self._pairs[index]
        ids = torch.tensor([chunk.token_ids(tokenizer)], device=encoder.device)
        with torch.no_grad(), substitute_vectors(encoder, index, chunk.embeddings, options.embeddings):
            output = encoder(ids, output_hidden_states=True)
        if options.layer >= len(output.hidden_states):
            raise RenderFailed(
                f"clip_skip {options.layer} is deeper than a text encoder's {len(output.hidden_states) - 1} layers"
            )
        return output.hidden_states[-options.layer], output[0]


def apply_emphasis(hidden: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """The hidden states (1, tokens, width) of one chunk, each token times its weight, brought back to the old mean."""
    if all(weight == 1.0 for weight in weights):
        return hidden
    plain = hidden.float()
    scaled = plain * torch.tensor(weights, device=hidden.device)[None, :, None]
    mean = scaled.mean()
    if mean != 0:
        scaled = scaled * (plain.mean() / mean)
    return scaled.to(hidden.dtype)


def move_from_empty(hidden: torch.Tensor, empty: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """ComfyUI's emphasis: the hidden states (1, tokens, width) moved away from those of an empty chunk, token by token."""
    weight = torch.tensor(weights, device=hidden.device)[None, :, None]
    moved = (hidden.float() - empty.float()) * weight + empty.float()
    return torch.where(weight == 1, hidden, moved.to(hidden.dtype))
