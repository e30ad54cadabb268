"""Prompts -> SDXL conditioning: both encoders, any length, each text encoded once.

A prompt longer than the 75 tokens that CLIP takes is cut into chunks of 75, each encoded on its own between its own marks,
and the chunks' hidden states are laid one after the other (what A1111 and ComfyUI do); the pooled vector is the first
chunk's. Prompt and negative prompt are brought to the same number of chunks with empty ones.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch

from indexd.errors import RenderFailed

PENULTIMATE = 2
_CACHE_ENTRIES = 128


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text: `hidden` (1, 77 x chunks, width of both encoders), `pooled` (1, projection of the second)."""

    hidden: torch.Tensor
    pooled: torch.Tensor


@dataclass(frozen=True, slots=True)
class Moment:
    """When in a run the UNet is asked: in which of its steps (counted from 0, of those that are really made)."""

    step: int
    steps: int

    @property
    def fraction(self) -> float:
        """0 in the first step, below 1 in the last."""
        return self.step / self.steps


@dataclass(frozen=True, slots=True)
class Told:
    """What the UNet is told at one moment: texts with their weights (several only for AND), all of the same length.

    `negative` is None when the render is not guided.
    """

    positive: tuple[tuple[Encoded, float], ...]
    negative: Encoded | None


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the UNet is told over a run; `negative` is None when the render is not guided (cfg <= 1)."""

    prompt: Encoded
    negative: Encoded | None

    def at(self, moment: Moment) -> Told:
        """The texts of one moment: here the same at every one."""
        del moment
        return Told(((self.prompt, 1.0),), self.negative)


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
        self._cache: OrderedDict[tuple[object, ...], Encoded] = OrderedDict()

    def condition(
        self, prompt: str, negative: str, *, guided: bool, clip_skip: int | None, adapters: tuple[object, ...]
    ) -> Conditioning:
        """Conditioning of one render. `clip_skip` counts as A1111 does: 1 = last layer, 2 (and None) = SDXL's own."""
        layer = clip_skip or PENULTIMATE
        asked = [prompt, negative] if guided else [prompt]
        chunks = max(self._chunk_count(text) for text in asked)
        positive = self._encode(prompt, chunks, layer, adapters)
        if not guided:
            return Conditioning(positive, None)
        if not negative and self._empty_negative_is_zero:
            return Conditioning(positive, Encoded(torch.zeros_like(positive.hidden), torch.zeros_like(positive.pooled)))
        return Conditioning(positive, self._encode(negative, chunks, layer, adapters))

    def _chunk_count(self, text: str) -> int:
        return max(len(_chunks(tokenizer, text)) for tokenizer, _ in self._pairs)

    def _encode(self, text: str, chunks: int, layer: int, adapters: tuple[object, ...]) -> Encoded:
        key = (text, chunks, layer, adapters)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        parts = [_run(tokenizer, encoder, text, chunks, layer) for tokenizer, encoder in self._pairs]
        encoded = Encoded(torch.cat([hidden for hidden, _ in parts], dim=-1), parts[-1][1])
        self._cache[key] = encoded
        while len(self._cache) > _CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return encoded


def _chunks(tokenizer: Any, text: str) -> list[list[int]]:
    """Token ids of each chunk, marks and padding included; an empty text is one chunk."""
    tokens = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
    room = tokenizer.model_max_length - 2
    cut = [tokens[start : start + room] for start in range(0, len(tokens), room)] or [[]]
    return [
        [
            tokenizer.bos_token_id,
            *chunk,
            tokenizer.eos_token_id,
            *[tokenizer.pad_token_id] * (room - len(chunk)),
        ]
        for chunk in cut
    ]


def _run(tokenizer: Any, encoder: Any, text: str, chunks: int, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states of all chunks and the first element of the encoder's answer (the pooled vector of the second)."""
    rows = _chunks(tokenizer, text)
    rows += _chunks(tokenizer, "") * (chunks - len(rows))
    hidden: list[torch.Tensor] = []
    first: torch.Tensor | None = None
    for row in rows:
        # One chunk at a time: a chunk's numbers must not depend on how many others there are.
        with torch.no_grad():
            answer = encoder(torch.tensor([row], device=encoder.device), output_hidden_states=True)
        if layer >= len(answer.hidden_states):
            raise RenderFailed(
                f"clip_skip {layer} is deeper than a text encoder's {len(answer.hidden_states) - 1} layers"
            )
        hidden.append(answer.hidden_states[-layer])
        first = answer[0] if first is None else first
    assert first is not None
    return torch.cat(hidden, dim=1), first
