"""CLIP's tokenizers made from the byte-pair merges that open_clip ships: a single-file checkpoint carries none.

SDXL uses the same vocabulary twice; the two differ in the padding token only (`<|endoftext|>` and `!`). The order of the
vocabulary is that of the original CLIP release: 256 bytes, the same at a word's end, one entry a merge, two marks.
"""

from __future__ import annotations

import gzip
import importlib.util
from functools import lru_cache
from pathlib import Path

from transformers import CLIPTokenizer

from indexd.errors import RenderFailed

VOCABULARY_SIZE = 49408
CONTEXT_TOKENS = 77


def build_clip_tokenizers() -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """`tokenizer` and `tokenizer_2` of SDXL. Raises RenderFailed when open_clip's merges are not installed."""
    vocabulary, merges = _vocabulary()

    def build(pad_token: str) -> CLIPTokenizer:
        return CLIPTokenizer(
            vocab=dict(vocabulary), merges=list(merges), pad_token=pad_token, model_max_length=CONTEXT_TOKENS
        )

    return build("<|endoftext|>"), build("!")


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    spec = importlib.util.find_spec("open_clip")
    file = None if spec is None or spec.origin is None else Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz")
    if file is None or not file.is_file():
        raise RenderFailed(
            "the CLIP vocabulary of open_clip is not installed, and the checkpoint has no tokenizers of its own; "
            "install open_clip_torch, or put a folder <name>.config with tokenizer/ and tokenizer_2/ beside it"
        )
    letters = bytes_to_unicode()
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")
    pairs = [line.split() for line in lines[1 : VOCABULARY_SIZE - 2 * len(letters) - 2 + 1]]
    merges = [(left, right) for left, right in pairs]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(left + right for left, right in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: place for place, token in enumerate(tokens)}, merges


def bytes_to_unicode() -> list[str]:
    """A printable character for each byte, in the vocabulary's order (GPT-2's): printable bytes first, then the others."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]
