"""Weighted pieces of a prompt -> chunks of the 75 tokens that CLIP takes, each with its weights and embeddings.

The cut is A1111's (modules/sd_hijack_clip.py, tokenize_line): a chunk is full at 75; where a comma stands among its last
20 tokens, what follows the comma moves into the next chunk; BREAK fills a chunk up; an embedding is not torn apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from indexd.errors import RenderFailed
from indexd.generate.sdxl.textual_inversion import TextualInversions
from indexd.prompts.emphasis import ChunkBreak, WeightedText
from indexd.prompts.word_matching import MatchedName

COMMA_LOOKBACK_TOKENS = 20
# Stands where the vectors of an embedding go; any token but the end mark would do.
_PLACEHOLDER_TOKEN = 0


@dataclass(slots=True)
class PromptChunk:
    """Token ids between the marks, a weight for each, and which embedding begins where."""

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    embeddings: list[tuple[int, str]] = field(default_factory=list)

    def add(self, token: int, weight: float) -> None:
        """One more token."""
        self.tokens.append(token)
        self.weights.append(weight)

    def split(self, place: int) -> tuple[PromptChunk, PromptChunk]:
        """What stands before `place`, and the rest as a chunk of its own."""
        head = PromptChunk(
            self.tokens[:place], self.weights[:place], [one for one in self.embeddings if one[0] < place]
        )
        moved = [(start - place, name) for start, name in self.embeddings if start >= place]
        return head, PromptChunk(self.tokens[place:], self.weights[place:], moved)

    def token_ids(self, tokenizer: Any) -> list[int]:
        """The ids as the encoder takes them: with begin and end tokens, padded to the full length."""
        padding = [tokenizer.pad_token_id] * (chunk_capacity(tokenizer) - len(self.tokens))
        return [tokenizer.bos_token_id, *self.tokens, tokenizer.eos_token_id, *padding]

    def token_weights(self, tokenizer: Any) -> list[float]:
        """The weights of `token_ids`: begin, end and padding tokens have 1."""
        return [1.0, *self.weights, *[1.0] * (chunk_capacity(tokenizer) - len(self.tokens) + 1)]


def chunk_capacity(tokenizer: Any) -> int:
    """How many tokens a chunk holds between its begin and end tokens."""
    room: int = tokenizer.model_max_length - 2
    return room


def split_into_chunks(
    tokenizer: Any,
    pieces: Sequence[WeightedText | ChunkBreak],
    embeddings: TextualInversions,
    *,
    at_commas: bool,
    whole_below: int = 0,
) -> list[PromptChunk]:
    """The chunks of one text, at least one. Raises RenderFailed.

    `at_commas` False = cut at exactly 75; but a piece of fewer tokens than `whole_below` is not cut.
    """
    return _ChunkBuilder(tokenizer, embeddings, at_commas, whole_below).build(pieces)


class _ChunkBuilder:
    def __init__(self, tokenizer: Any, embeddings: TextualInversions, at_commas: bool, whole_below: int) -> None:
        self._whole_below = whole_below
        self._tokenizer = tokenizer
        self._embeddings = embeddings
        self._capacity = chunk_capacity(tokenizer)
        [self._comma] = _token_ids(tokenizer, ",")[:1] if at_commas else [-1]
        self._finished_chunks: list[PromptChunk] = []
        self._chunk = PromptChunk()
        self._last_comma = -1

    def build(self, pieces: Sequence[WeightedText | ChunkBreak]) -> list[PromptChunk]:
        for piece in pieces:
            if isinstance(piece, ChunkBreak):
                self._finish_chunk()
                continue
            for part in self._embeddings.names.split(piece.text):
                if isinstance(part, MatchedName):
                    self._add_embedding(part.name, piece.weight)
                else:
                    tokens = _token_ids(self._tokenizer, part)
                    if len(self._chunk.tokens) + len(tokens) > self._capacity and len(tokens) < self._whole_below:
                        self._finish_chunk()
                    for token in tokens:
                        self._add_token(token, piece.weight)
        if self._chunk.tokens or not self._finished_chunks:
            self._finish_chunk()
        return self._finished_chunks

    def _finish_chunk(self) -> None:
        self._finished_chunks.append(self._chunk)
        self._chunk, self._last_comma = PromptChunk(), -1

    def _add_token(self, token: int, weight: float) -> None:
        if token == self._comma:
            self._last_comma = len(self._chunk.tokens)
        else:
            self._carry_over_after_comma()
        if len(self._chunk.tokens) == self._capacity:
            self._finish_chunk()
        self._chunk.add(token, weight)

    def _carry_over_after_comma(self) -> None:
        full = len(self._chunk.tokens) == self._capacity
        if full and self._last_comma >= 0 and self._capacity - self._last_comma <= COMMA_LOOKBACK_TOKENS:
            self._chunk, rest = self._chunk.split(self._last_comma + 1)
            self._finish_chunk()
            self._chunk = rest

    def _add_embedding(self, name: str, weight: float) -> None:
        length = self._embeddings.vector_count(name)
        if length > self._capacity:
            raise RenderFailed(f"embedding {name} has {length} vectors; a chunk of the prompt holds {self._capacity}")
        self._carry_over_after_comma()
        if len(self._chunk.tokens) + length > self._capacity:
            self._finish_chunk()
        self._chunk.embeddings.append((len(self._chunk.tokens), name))
        for _ in range(length):
            self._chunk.add(_PLACEHOLDER_TOKEN, weight)


def _token_ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
    return ids
