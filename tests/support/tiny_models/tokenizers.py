"""Tokenizers made on the spot, so that tiny models need no download: one token a byte, one token a letter."""

from __future__ import annotations

from pathlib import Path

from transformers import BertTokenizer

from indexd.generate.sdxl.clip_tokenizers import bytes_to_unicode
from indexd_toyworld.toy_tokenizer import END, START, letter_vocabulary, save_clip_tokenizer

CLIP_VOCABULARY = 2 * 256 + 2


def write_clip_tokenizer(folder: Path, pad_token: str) -> None:
    """A CLIP tokenizer without merges: a text is one token a byte. `!` is token 0, as in the real one."""
    letters = bytes_to_unicode()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), START, END]
    save_clip_tokenizer(folder, {token: place for place, token in enumerate(tokens)}, [], pad_token)


def bert_tokenizer() -> BertTokenizer:
    """A lower-casing WordPiece tokenizer of 512 tokens over single letters."""
    vocabulary = {token: place for place, token in enumerate(letter_vocabulary())}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=512)
