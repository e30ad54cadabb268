"""BGE through sentence-transformers: prompts, negative prompts and the queries about them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from indexd.errors import ModelUnavailable
from indexd.models.device import torch_dtype
from indexd.models.embedding_model import Poll
from indexd.models.model_identity import model_identity
from indexd.models.token_windows import EmbeddingArray, TokenIds, embed_windows
from indexd.worker.calls import ModelSpec

POOLING_VERSION = 1
QUERY_PREFIX = "Represent this sentence for searching relevant passages: "
"""What BGE's English models were trained with, from their model GPU; passages get none."""
_CONFIGURATION_PATTERNS = (
    "*.json",
    "vocab.txt",
    "merges.txt",
    "sentencepiece*.model",
    "*_Pooling/config.json",
    "*_Dense/*",
)
_WEIGHT_PATTERNS = ("model*.safetensors", "pytorch_model*.bin")


class BgeModel:
    """A loaded sentence-transformers model."""

    def __init__(self, model: Any, spec: ModelSpec, identity: str, prefix: str) -> None:
        self._model = model
        self._batch_size = spec.batch_size
        self._prefix = prefix
        self.identity = identity
        # Renamed in sentence-transformers 6.
        dimension = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        self.dim = int(dimension())

    def embed_texts(self, texts: Sequence[str], *, as_query: bool, poll: Poll) -> EmbeddingArray:
        """One vector a text, in windows of as many tokens as the model takes (512 with its two special ones)."""
        prefix = self._prefix if as_query else ""
        tokenizer = self._model.tokenizer
        coded = tokenizer([prefix + text for text in texts], add_special_tokens=False, truncation=False, verbose=False)
        size = int(self._model.max_seq_length) - 2
        return embed_windows(coded["input_ids"], size, self._batch_size, self._embed, poll)

    def _embed(self, windows: list[TokenIds]) -> EmbeddingArray:
        tokenizer = self._model.tokenizer
        rows = [[tokenizer.cls_token_id, *window, tokenizer.sep_token_id] for window in windows]
        features = tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(self._model.device)
        with torch.inference_mode():
            vectors = self._model.forward(dict(features))["sentence_embedding"]
        return vectors.float().cpu().numpy()  # type: ignore[no-any-return]


def load_bge(spec: ModelSpec, cache_folder: str) -> BgeModel:
    """Load the folder `spec.path`. Raises ModelUnavailable when it is no sentence-transformers folder."""
    folder = Path(spec.path)
    weights = next((found for pattern in _WEIGHT_PATTERNS if (found := sorted(folder.glob(pattern)))), [])
    if not (folder / "modules.json").is_file() or not weights:
        raise ModelUnavailable(
            "bge", f"{folder} is no sentence-transformers folder (modules.json and model.safetensors)"
        )
    model = SentenceTransformer(
        str(folder),
        device=spec.device,
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"dtype": torch_dtype(spec.dtype), "use_safetensors": weights[0].suffix == ".safetensors"},
    ).eval()
    files = {file for pattern in _CONFIGURATION_PATTERNS for file in folder.glob(pattern)} | set(weights)
    identity = model_identity("bge", POOLING_VERSION, files, folder, cache_folder)
    prefix = spec.query_prefix if spec.query_prefix is not None else _folder_query_prefix(folder)
    return BgeModel(model, spec, identity, prefix)


def _folder_query_prefix(folder: Path) -> str:
    """The prefix that the folder names for queries; BGE's, when it names none."""
    try:
        prompts = json.loads((folder / "config_sentence_transformers.json").read_text("utf-8")).get("prompts") or {}
    except (OSError, ValueError, AttributeError):
        return QUERY_PREFIX
    return str(prompts.get("query") or QUERY_PREFIX)
