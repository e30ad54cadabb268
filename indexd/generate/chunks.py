"""Weighted pieces of a prompt -> chunks of the 75 tokens that CLIP takes, each with its weights and embeddings.

The cut is A1111's (modules/sd_hijack_clip.py, tokenize_line): a chunk is full at 75; where a comma stands among its last
20 tokens, what follows the comma moves into the next chunk; BREAK fills a chunk up; an embedding is not torn apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from indexd.errors import RenderFailed
from indexd.generate.embeddings import Embeddings
from indexd.prompts.attention import Break, Piece
from indexd.prompts.words import Named

COMMA_REACH_TOKENS = 20
# Stands where the vectors of an embedding go; any token but the end mark would do.
_PLACEHOLDER = 0


@dataclass(slots=True)
class Chunk:
    """Token ids between the marks, a weight for each, and which embedding begins where."""

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    embeddings: list[tuple[int, str]] = field(default_factory=list)

    def add(self, token: int, weight: float) -> None:
        """One more token."""
        self.tokens.append(token)
        self.weights.append(weight)

    def split(self, place: int) -> tuple[Chunk, Chunk]:
        """What stands before `place`, and the rest as a chunk of its own."""
        head = Chunk(self.tokens[:place], self.weights[:place], [one for one in self.embeddings if one[0] < place])
        moved = [(start - place, name) for start, name in self.embeddings if start >= place]
        return head, Chunk(self.tokens[place:], self.weights[place:], moved)

    def row(self, tokenizer: Any) -> list[int]:
        """The ids as the encoder takes them: marks round them, padded to the full length."""
        padding = [tokenizer.pad_token_id] * (room_of(tokenizer) - len(self.tokens))
        return [tokenizer.bos_token_id, *self.tokens, tokenizer.eos_token_id, *padding]

    def row_weights(self, tokenizer: Any) -> list[float]:
        """The weights of `row`: marks and padding have 1."""
        return [1.0, *self.weights, *[1.0] * (room_of(tokenizer) - len(self.tokens) + 1)]


def room_of(tokenizer: Any) -> int:
    """How many tokens a chunk holds between its marks."""
    room: int = tokenizer.model_max_length - 2
    return room


def chunks_of(
    tokenizer: Any, pieces: Sequence[Piece | Break], embeddings: Embeddings, *, at_commas: bool
) -> list[Chunk]:
    """The chunks of one text, at least one. `at_commas` False = cut at exactly 75. Raises RenderFailed."""
    return _Cutter(tokenizer, embeddings, at_commas).cut(pieces)


class _Cutter:
    def __init__(self, tokenizer: Any, embeddings: Embeddings, at_commas: bool) -> None:
        self._tokenizer = tokenizer
        self._embeddings = embeddings
        self._room = room_of(tokenizer)
        [self._comma] = _ids(tokenizer, ",")[:1] if at_commas else [-1]
        self._done: list[Chunk] = []
        self._chunk = Chunk()
        self._last_comma = -1

    def cut(self, pieces: Sequence[Piece | Break]) -> list[Chunk]:
        for piece in pieces:
            if isinstance(piece, Break):
                self._next()
                continue
            for part in self._embeddings.names.split(piece.text):
                if isinstance(part, Named):
                    self._embedding(part.name, piece.weight)
                else:
                    for token in _ids(self._tokenizer, part):
                        self._token(token, piece.weight)
        if self._chunk.tokens or not self._done:
            self._next()
        return self._done

    def _next(self) -> None:
        self._done.append(self._chunk)
        self._chunk, self._last_comma = Chunk(), -1

    def _token(self, token: int, weight: float) -> None:
        if token == self._comma:
            self._last_comma = len(self._chunk.tokens)
        else:
            self._move_after_comma()
        if len(self._chunk.tokens) == self._room:
            self._next()
        self._chunk.add(token, weight)

    def _move_after_comma(self) -> None:
        full = len(self._chunk.tokens) == self._room
        if full and self._last_comma >= 0 and self._room - self._last_comma <= COMMA_REACH_TOKENS:
            self._chunk, rest = self._chunk.split(self._last_comma + 1)
            self._next()
            self._chunk = rest

    def _embedding(self, name: str, weight: float) -> None:
        length = self._embeddings.length(name)
        if length > self._room:
            raise RenderFailed(f"embedding {name} has {length} vectors; a chunk of the prompt holds {self._room}")
        self._move_after_comma()
        if len(self._chunk.tokens) + length > self._room:
            self._next()
        self._chunk.embeddings.append((len(self._chunk.tokens), name))
        for _ in range(length):
            self._chunk.add(_PLACEHOLDER, weight)


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
    return ids
