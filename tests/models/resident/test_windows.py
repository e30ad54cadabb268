"""Long texts in windows, without any model."""

from __future__ import annotations

import numpy as np
import pytest

from indexd.models.token_windows import EmbeddingArray, TokenIds, embed_windows, normalize_rows, split_windows
from indexd.worker.calls import MAX_EMBEDDED_TOKENS


def test_cutting_keeps_every_token() -> None:
    assert split_windows(list(range(7)), 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert split_windows(list(range(3)), 3) == [[0, 1, 2]]
    assert split_windows([], 3) == [[]]


def axis(windows: list[TokenIds]) -> EmbeddingArray:
    """A window's vector is the axis named by its first token, at some length."""
    vectors = np.zeros((len(windows), 4), np.float32)
    for row, window in enumerate(windows):
        vectors[row, window[0]] = 5.0 + row
    return vectors


def test_windows_are_averaged_by_length_and_texts_keep_their_order() -> None:
    texts = [[0, 0, 0, 1], [2], [3, 3, 3]]
    batches: list[int] = []
    vectors = embed_windows(texts, 3, 2, axis, lambda: batches.append(1))
    assert vectors[0] == pytest.approx([3 / 10**0.5, 1 / 10**0.5, 0, 0])
    assert vectors[1] == pytest.approx([0, 0, 1, 0])
    assert vectors[2] == pytest.approx([0, 0, 0, 1])
    assert len(batches) == 2


def test_a_long_text_is_embedded_up_to_the_stated_number_of_tokens() -> None:
    seen: list[int] = []

    def count_tokens(windows: list[TokenIds]) -> EmbeddingArray:
        seen.append(sum(len(window) for window in windows))
        return np.ones((len(windows), 4), np.float32)

    embed_windows([[0] * 1_000_000, [1] * 10], 510, 4, count_tokens, lambda: None)
    assert sum(seen) == MAX_EMBEDDED_TOKENS + 10


def test_no_texts_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no texts"):
        embed_windows([], 3, 2, axis, lambda: None)


def test_a_vector_without_direction_is_not_a_number() -> None:
    rows = normalize_rows(np.array([[3, 4], [0, 0], [np.inf, 1], [np.nan, 1]], np.float32))
    assert rows[0] == pytest.approx([0.6, 0.8])
    assert np.isnan(rows[1:]).all()
