"""Tokenizers made on the spot, so that tiny models need no download: one token a byte, one token a letter."""

from __future__ import annotations

import json
import string
from pathlib import Path

from transformers import BertTokenizer, CLIPTokenizer

CLIP_VOCABULARY = 2 * 256 + 2


def byte_letters() -> list[str]:
    """The printable stand-ins of the 256 bytes in byte-level BPE, in the order of CLIP's vocabulary (GPT-2's table)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(rest))]


def write_clip_tokenizer(folder: Path, pad_token: str) -> None:
    """A CLIP tokenizer of 77 tokens without merges: a text is one token a byte. `!` is token 0, as in the real one."""
    letters = byte_letters()
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={token: place for place, token in enumerate(vocabulary)},
        merges=[],
        pad_token=pad_token,
        model_max_length=77,
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    # The two files of the original CLIP repositories, which other readers of an SDXL folder expect.
    (folder / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(vocabulary)}), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")


def letter_vocabulary() -> list[str]:
    """A WordPiece vocabulary of single letters, digits and signs, alone and as continuations."""
    letters = string.ascii_lowercase + string.digits
    return [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *string.punctuation,
        *letters,
        *(f"##{letter}" for letter in letters),
    ]


def bert_tokenizer() -> BertTokenizer:
    """A lower-casing WordPiece tokenizer of 512 tokens over single letters."""
    vocabulary = {token: place for place, token in enumerate(letter_vocabulary())}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=512)
