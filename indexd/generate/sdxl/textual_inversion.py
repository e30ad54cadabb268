"""Textual-inversion embeddings of SDXL: a file -> vectors for both encoders, put in the place of a word's tokens.

An SDXL file holds `clip_l` (vectors, 768) and `clip_g` (vectors, 1280), the form that kohya's and OneTrainer's files have and
that A1111 and ComfyUI read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from indexd.errors import RenderFailed
from indexd.generate.file_hashes import check_hash
from indexd.generate.finite_weights import raise_if_not_finite
from indexd.prompts.word_matching import NameMatcher
from indexd_schemas.recipe import EmbeddingRef

ENCODER_KEYS = ("clip_l", "clip_g")
HASH_DIGITS = 10


@dataclass(frozen=True, slots=True)
class TextualInversion:
    """One embedding: a matrix (vectors, width) for each encoder, and the hash of its file."""

    vectors: tuple[torch.Tensor, torch.Tensor]
    hash: str


class TextualInversions:
    """The embeddings of one render, by the word that calls them."""

    def __init__(self, found: Mapping[str, TextualInversion]) -> None:
        self.by_word = dict(found)
        self.names = NameMatcher(found)

    def vector_count(self, name: str) -> int:
        """How many tokens the embedding takes the place of."""
        return len(self.by_word[name].vectors[0])

    def cache_key(self) -> tuple[object, ...]:
        """What tells encoded texts apart."""
        return tuple(sorted((name, embedding.hash) for name, embedding in self.by_word.items()))


NO_TEXTUAL_INVERSIONS = TextualInversions({})


def load_textual_inversions(
    paths: Mapping[str, str], widths: Sequence[int], *, pickle_allowed: bool
) -> TextualInversions:
    """The embeddings at `paths` (by name) for encoders of these widths. Raises RenderFailed."""
    return TextualInversions(
        {prompt_word(name): _load_embedding(name, Path(path), widths, pickle_allowed) for name, path in paths.items()}
    )


def load_verified_embeddings(
    references: Sequence[EmbeddingRef], paths: Mapping[str, str], widths: Sequence[int], *, pickle_allowed: bool
) -> TextualInversions:
    """The embeddings that a recipe names. Raises RenderFailed, also when a file has another hash than the recipe states."""
    found = load_textual_inversions(paths, widths, pickle_allowed=pickle_allowed)
    for reference in references:
        check_hash("embedding", reference.name, reference.hash, found.by_word[prompt_word(reference.name)].hash)
    return found


def bundled_inversions(bundled: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, TextualInversion]:
    """Embeddings from LoRA files, by word; each has fitting vectors for both encoders."""
    found: dict[str, TextualInversion] = {}
    for word, tensors in bundled.items():
        first, second = (tensors[key] for key in ENCODER_KEYS)
        digest = hashlib.sha256(first.numpy().tobytes() + second.numpy().tobytes()).hexdigest()
        found[word] = TextualInversion((first, second), digest[:HASH_DIGITS])
    return found


def prompt_word(name: str) -> str:
    """The word by which prompts call an embedding: the last part of its name."""
    return name.rpartition("/")[2]


def _load_embedding(name: str, path: Path, widths: Sequence[int], pickle_allowed: bool) -> TextualInversion:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:HASH_DIGITS]
        tensors = _read_tensors(name, path, pickle_allowed)
    except (OSError, SafetensorError) as error:
        raise RenderFailed(f"embedding {name} cannot be read: {error}") from error
    missing = [key for key in ENCODER_KEYS if not isinstance(tensors.get(key), torch.Tensor)]
    if missing:
        raise RenderFailed(f"embedding {name} has no {missing[0]} vectors; it was not made for SDXL")
    first, second = (torch.atleast_2d(tensors[key].float()) for key in ENCODER_KEYS)
    if first.shape[0] != second.shape[0] or (first.shape[1], second.shape[1]) != tuple(widths):
        raise RenderFailed(
            f"embedding {name} does not fit this model: it has {tuple(first.shape)} and {tuple(second.shape)}, "
            f"and the encoders are {widths[0]} and {widths[1]} wide"
        )
    raise_if_not_finite(f"embedding {name}", dict(zip(ENCODER_KEYS, (first, second), strict=True)))
    return TextualInversion((first, second), digest)


def _read_tensors(name: str, path: Path, pickle_allowed: bool) -> Mapping[str, Any]:
    if path.suffix.lower() == ".safetensors":
        tensors: Mapping[str, Any] = load_file(path)
        return tensors
    if not pickle_allowed:
        raise RenderFailed(
            f"embedding {name} is not a .safetensors file and can carry code; convert it, "
            "or set pickle_checkpoints under [generate]"
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises what it likes on what it does not allow
        raise RenderFailed(f"embedding {name} cannot be read: {type(error).__name__}") from error
    return loaded if isinstance(loaded, Mapping) else {}


@contextmanager
def substitute_vectors(
    encoder: Any, index: int, starts: Sequence[tuple[int, str]], embeddings: TextualInversions
) -> Iterator[None]:
    """While open, encoder number `index` sees the embeddings' vectors at `starts` instead of those of the tokens there."""
    if not starts:
        yield
        return

    def replace(_module: torch.nn.Module, _given: Any, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        for start, name in starts:
            vectors = embeddings.by_word[name].vectors[index].to(device=output.device, dtype=output.dtype)
            changed[:, 1 + start : 1 + start + vectors.shape[0]] = vectors
        return changed

    handle = encoder.get_input_embeddings().register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
