"""Where a prompt is cut: 75 tokens, commas, BREAK and embeddings, as A1111 cuts them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CLIPTokenizer

from indexd.errors import RenderFailed
from indexd.generate.sdxl.prompt_chunks import PromptChunk, split_into_chunks
from indexd.generate.sdxl.textual_inversion import NO_TEXTUAL_INVERSIONS, TextualInversion, TextualInversions
from indexd.prompts.emphasis import ChunkBreak, WeightedText, parse_weights

# The tiny tokenizer makes one token of a letter at the end of a word.
WORD = "a "


@pytest.fixture(scope="module")
def tokenizer(tiny_models: Any) -> Any:
    return CLIPTokenizer.from_pretrained(tiny_models.sdxl / "tokenizer")


def cut(
    tokenizer: Any, text: str, embeddings: TextualInversions = NO_TEXTUAL_INVERSIONS, *, at_commas: bool = True
) -> list[PromptChunk]:
    return split_into_chunks(tokenizer, parse_weights(text), embeddings, at_commas=at_commas)


def lengths(chunks: list[PromptChunk]) -> list[int]:
    return [len(chunk.tokens) for chunk in chunks]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0]),
        (WORD * 75, [75]),
        (WORD * 76, [75, 1]),
        (WORD * 160, [75, 75, 10]),
        # A comma as token 56 is the 20th from the end and moves the cut; as token 55 it does not.
        (WORD * 55 + ", " + WORD * 40, [56, 40]),
        (WORD * 54 + ", " + WORD * 40, [75, 20]),
        (WORD * 74 + ", " + WORD * 10, [75, 10]),
        # The comma that does not fit begins the next chunk, as it does there.
        (WORD * 75 + ", " + WORD * 10, [75, 11]),
        # The last comma counts; a text that ends with the chunk is not cut at all.
        (WORD * 60 + ", " + WORD * 5 + ", " + WORD * 20, [67, 20]),
        (WORD * 60 + ", " + WORD * 14, [75]),
        ("a BREAK b", [1, 1]),
        ("BREAK", [0]),
        ("a BREAK", [1]),
        ("BREAK a", [0, 1]),
        ("a BREAK BREAK b", [1, 0, 1]),
        (WORD * 75 + "BREAK b", [75, 1]),
        (WORD * 60 + ", BREAK " + WORD * 80, [61, 75, 5]),
    ],
)
def test_the_cut(tokenizer: Any, text: str, expected: list[int]) -> None:
    assert lengths(cut(tokenizer, text)) == expected


def test_no_token_is_lost_or_moved(tokenizer: Any) -> None:
    text = ", ".join("abcdefghijklm"[: 1 + number % 13] for number in range(90))
    tokens = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    assert [token for chunk in cut(tokenizer, text) for token in chunk.tokens] == tokens


def test_plain_text_is_cut_at_75_whatever_stands_there(tokenizer: Any) -> None:
    text = WORD * 60 + ", " + WORD * 40
    assert lengths(split_into_chunks(tokenizer, [WeightedText(text)], NO_TEXTUAL_INVERSIONS, at_commas=False)) == [
        75,
        26,
    ]


def test_weights_follow_their_tokens_over_the_cut(tokenizer: Any) -> None:
    chunks = cut(tokenizer, WORD * 60 + ", " + "(" + WORD * 20 + ":1.5)")
    assert lengths(chunks) == [61, 20]
    assert chunks[0].weights == [1.0] * 61
    assert chunks[1].weights == [1.5] * 20
    row, weights = chunks[1].token_ids(tokenizer), chunks[1].token_weights(tokenizer)
    assert (len(row), len(weights)) == (77, 77)
    assert (row[0], row[21], row[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert weights == [1.0, *[1.5] * 20, *[1.0] * 56]


def embeddings(**lengths: int) -> TextualInversions:
    return TextualInversions(
        {
            name: TextualInversion((torch.ones(length, 4), torch.ones(length, 6)), name)
            for name, length in lengths.items()
        }
    )


def test_an_embedding_takes_the_place_of_its_word(tokenizer: Any) -> None:
    [chunk] = cut(tokenizer, "a (glow:1.2) b", embeddings(glow=3))
    assert len(chunk.tokens) == 5
    assert chunk.embeddings == [(1, "glow")]
    assert chunk.weights == [1, 1.2, 1.2, 1.2, 1]


def test_an_embedding_is_not_torn_apart(tokenizer: Any) -> None:
    chunks = cut(tokenizer, WORD * 73 + "glow b", embeddings(glow=3))
    assert lengths(chunks) == [73, 4]
    assert chunks[1].embeddings == [(0, "glow")]
    chunks = cut(tokenizer, WORD * 60 + ", glow " + WORD * 20, embeddings(glow=3))
    assert lengths(chunks) == [61, 23]
    assert chunks[1].embeddings == [(0, "glow")]


def test_an_embedding_longer_than_a_chunk_is_refused(tokenizer: Any) -> None:
    with pytest.raises(RenderFailed, match="embedding glow has 76 vectors"):
        split_into_chunks(tokenizer, [WeightedText("glow"), ChunkBreak()], embeddings(glow=76), at_commas=True)
