"""The two text encoders of an SDXL folder: clip_l (pooled, 768) and clip_g (projected pooled, 1280)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from indexd.errors import ModelUnavailable
from indexd.models.device import torch_dtype
from indexd.models.embedding_model import Poll
from indexd.models.model_identity import model_identity
from indexd.models.token_windows import EmbeddingArray, TokenIds, embed_windows
from indexd.worker.calls import ModelSpec

POOLING_VERSION = 1
_FOLDERS = {"clip_l": ("text_encoder", "tokenizer"), "clip_g": ("text_encoder_2", "tokenizer_2")}


class ClipTextModel:
    """A loaded CLIP text encoder with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, spec: ModelSpec, identity: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._batch_size = spec.batch_size
        self._projected = hasattr(model, "text_projection")
        self.identity = identity
        self.dim = int(model.config.projection_dim if self._projected else model.config.hidden_size)

    def embed_texts(self, texts: Sequence[str], *, as_query: bool, poll: Poll) -> EmbeddingArray:  # noqa: ARG002 - CLIP has no query form
        """One vector a text, in windows of 75 tokens between start and end."""
        coded = self._tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
        size = int(self._model.config.max_position_embeddings) - 2
        return embed_windows(coded["input_ids"], size, self._batch_size, self._embed, poll)

    def _embed(self, windows: list[TokenIds]) -> EmbeddingArray:
        # Padded to the full length like in training and in diffusers. The pooled vector is that of the end token, and
        # attention looks backwards only, so what stands after it (clip_g pads with "!") has no say.
        tokenizer, length = self._tokenizer, int(self._model.config.max_position_embeddings)
        rows = [[tokenizer.bos_token_id, *window, tokenizer.eos_token_id] for window in windows]
        rows = [row + [tokenizer.pad_token_id] * (length - len(row)) for row in rows]
        with torch.inference_mode():
            output = self._model(input_ids=torch.tensor(rows, device=self._model.device))
        vectors = output.text_embeds if self._projected else output.pooler_output
        return vectors.float().cpu().numpy()  # type: ignore[no-any-return]


def load_clip_text(spec: ModelSpec, cache_folder: str) -> ClipTextModel:
    """Load the encoder of `spec.role` from the SDXL folder `spec.path`. Raises ModelUnavailable when it is none."""
    encoder, tokenizer = _FOLDERS[spec.role]
    folder = Path(spec.path)
    for part in (encoder, tokenizer):
        if not (folder / part).is_dir():
            raise ModelUnavailable(spec.role, f"{folder} is no SDXL folder in the diffusers form (it has no {part}/)")
    model_class = CLIPTextModelWithProjection if spec.role == "clip_g" else CLIPTextModel
    model = model_class.from_pretrained(
        folder / encoder,
        dtype=torch_dtype(spec.dtype),
        local_files_only=True,
        use_safetensors=True,
        **_variant_argument(folder / encoder),
    )
    words = CLIPTokenizer.from_pretrained(folder / tokenizer, local_files_only=True)
    files = [file for part in (encoder, tokenizer) for file in _identity_files(folder / part)]
    identity = model_identity(spec.role, POOLING_VERSION, files, folder, cache_folder)
    return ClipTextModel(model.to(spec.device).eval(), words, spec, identity)


def _variant_argument(folder: Path) -> dict[str, str]:
    """Folders that were fetched in half precision only have `model.fp16.safetensors`."""
    return (
        {}
        if (folder / "model.safetensors").exists() or not (folder / "model.fp16.safetensors").exists()
        else {"variant": "fp16"}
    )


def _identity_files(folder: Path) -> list[Path]:
    whole = sorted(folder.glob("model*.safetensors"))
    plain = [file for file in whole if ".fp16." not in file.name]
    return [*(plain or whole), *folder.glob("*.json"), *folder.glob("*.txt")]
