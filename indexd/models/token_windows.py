"""Long texts: cut in windows of tokens, embedded one by one, averaged by length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from indexd.worker.calls import MAX_EMBEDDED_TOKENS

EmbeddingArray = NDArray[np.float32]
TokenIds = list[int]


def split_windows(tokens: Sequence[int], size: int) -> list[TokenIds]:
    """Windows of at most `size` tokens; an empty text has one empty window."""
    return [list(tokens[start : start + size]) for start in range(0, len(tokens), size)] or [[]]


def embed_windows(
    texts: Sequence[TokenIds],
    size: int,
    batch_size: int,
    embed: Callable[[list[TokenIds]], EmbeddingArray],
    poll: Callable[[], None],
) -> EmbeddingArray:
    """One unit vector a text, float32 (n, dim): the mean of its windows' unit vectors, weighted by their tokens.

    `embed` takes at most `batch_size` windows without special tokens; windows of like length go together, so that
    little is spent on padding. `poll` is called before every batch. Of each text, MAX_EMBEDDED_TOKENS are embedded.
    """
    windows = [
        (owner, window)
        for owner, tokens in enumerate(texts)
        for window in split_windows(tokens[:MAX_EMBEDDED_TOKENS], size)
    ]
    order = sorted(range(len(windows)), key=lambda place: len(windows[place][1]))
    sums: EmbeddingArray | None = None
    for start in range(0, len(order), batch_size):
        poll()
        batch = [windows[place] for place in order[start : start + batch_size]]
        vectors = normalize_rows(embed([window for _, window in batch]))
        if sums is None:
            sums = np.zeros((len(texts), vectors.shape[1]), np.float32)
        weights = np.array([max(1, len(window)) for _, window in batch], np.float32)
        np.add.at(sums, [owner for owner, _ in batch], vectors * weights[:, None])
    if sums is None:
        raise ValueError("no texts to embed")
    return normalize_rows(sums)


def normalize_rows(vectors: EmbeddingArray) -> EmbeddingArray:
    """Rows at length one; a row without a direction (zero, NaN, infinite) becomes NaN."""
    wide = vectors.astype(np.float32)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows: EmbeddingArray = np.where(np.isfinite(length) & (length > 0), wide / length, np.float32(np.nan))
    return rows
