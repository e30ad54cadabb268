"""Tokenizers of the toy world. CLIP's is byte-level like the real one, with merges that make every caption word one token.

Unknown words split into letters and fragments, as in the real one. The start token has the second highest id and the end token the
highest, where transformers and open_clip look for the end of a text.
"""

from __future__ import annotations

import itertools
import json
import string
from collections import Counter
from functools import lru_cache
from pathlib import Path

from transformers import CLIPTokenizer

from indexd.generate.sdxl.clip_tokenizers import bytes_to_unicode
from indexd_toyworld.captions import vocabulary_words

POSITIONS = 77
START, END = "<|startoftext|>", "<|endoftext|>"
PAD_L, PAD_G = END, "!"
"""What the two encoders of SDXL are padded with."""

BpeMerge = tuple[str, str]


def learn_merges(vocabulary: list[str]) -> list[BpeMerge]:
    """Ordered byte-pair merges that make each word one token (Sennrich et al., 2016).

    Merges the most frequent pair first, equal ones in alphabetical order, until no pair is left.
    """
    pieces = [(*word[:-1], f"{word[-1]}</w>") for word in vocabulary]
    found: list[BpeMerge] = []
    while any(len(word) > 1 for word in pieces):
        pairs = Counter(pair for word in pieces for pair in itertools.pairwise(word))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best)
        pieces = [_apply_merge(word, best) for word in pieces]
    return found


def _apply_merge(word: tuple[str, ...], pair: BpeMerge) -> tuple[str, ...]:
    result: list[str] = []
    for piece in word:
        if result and (result[-1], piece) == pair:
            result[-1] += piece
        else:
            result.append(piece)
    return tuple(result)


@lru_cache(maxsize=1)
def _vocabulary_and_merges() -> tuple[dict[str, int], list[BpeMerge]]:
    letters = bytes_to_unicode()
    found = learn_merges([*vocabulary_words(), ","])
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in found), START, END]
    unique = list(dict.fromkeys(tokens))
    return {token: place for place, token in enumerate(unique)}, found


def vocabulary_size() -> int:
    return len(_vocabulary_and_merges()[0])


def clip_tokenizer(pad_token: str = PAD_L) -> CLIPTokenizer:
    """The tokenizer with padding `pad_token`; truncates texts to 77 tokens."""
    return _clip_tokenizer(*_vocabulary_and_merges(), pad_token)


def write_clip_tokenizer(folder: Path, pad_token: str) -> None:
    """Write the toy world's tokenizer as a folder."""
    save_clip_tokenizer(folder, *_vocabulary_and_merges(), pad_token)


def save_clip_tokenizer(folder: Path, vocabulary: dict[str, int], found: list[BpeMerge], pad_token: str) -> None:
    """Save a CLIP tokenizer of 77 tokens as a folder, in the new format and in the two files of the original repositories."""
    folder.mkdir(parents=True, exist_ok=True)
    _clip_tokenizer(vocabulary, found, pad_token).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in found)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")


def _clip_tokenizer(vocabulary: dict[str, int], found: list[BpeMerge], pad_token: str) -> CLIPTokenizer:
    return CLIPTokenizer(vocab=vocabulary, merges=found, pad_token=pad_token, model_max_length=POSITIONS)


def letter_vocabulary() -> list[str]:
    """Start of a WordPiece vocabulary (BGE's kind): letters, digits and signs, alone and as continuations."""
    letters = string.ascii_lowercase + string.digits
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return [*marks, *string.punctuation, *letters, *(f"##{letter}" for letter in letters)]
