"""OpenCLIP ViT-H/14 through open_clip: images, and words against images, in their joint space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

from indexd.errors import ModelUnavailable
from indexd.models.device import torch_dtype
from indexd.models.embedding_model import Poll
from indexd.models.model_identity import model_identity
from indexd.models.token_windows import EmbeddingArray, TokenIds, embed_windows, normalize_rows
from indexd.worker.calls import ModelSpec

POOLING_VERSION = 1
_WEIGHT_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


class ClipVisionModel:
    """A loaded open_clip model with its image transform and tokenizer."""

    def __init__(
        self, model: Any, transform: Callable[[Image.Image], torch.Tensor], spec: ModelSpec, identity: str
    ) -> None:
        self._model = model
        self._transform = transform
        self._tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
        self._batch_size = spec.batch_size
        self._device = spec.device
        self._dtype = torch_dtype(spec.dtype)
        self.identity = identity
        self.dim = int(model.text_projection.shape[-1])

    def embed_texts(self, texts: Sequence[str], *, as_query: bool, poll: Poll) -> EmbeddingArray:  # noqa: ARG002 - CLIP has no query form
        """One vector a text, in windows of 75 tokens between start and end."""
        coded = [self._tokenizer.encode(text) for text in texts]
        return embed_windows(coded, self._model.context_length - 2, self._batch_size, self._embed, poll)

    def embed_images(self, images: Sequence[Image.Image]) -> EmbeddingArray:
        """One vector an image (RGB)."""
        pixels = torch.stack([self._transform(image) for image in images]).to(self._device, self._dtype)
        with torch.inference_mode():
            return normalize_rows(self._model.encode_image(pixels).float().cpu().numpy())

    def _embed(self, windows: list[TokenIds]) -> EmbeddingArray:
        rows = torch.zeros(len(windows), self._model.context_length, dtype=torch.long)
        for row, window in zip(rows, windows, strict=True):
            row[: len(window) + 2] = torch.tensor([self._tokenizer.sot_token_id, *window, self._tokenizer.eot_token_id])
        with torch.inference_mode():
            vectors = self._model.encode_text(rows.to(self._device))
        return vectors.float().cpu().numpy()  # type: ignore[no-any-return]


def load_clip_vision(spec: ModelSpec, cache_folder: str) -> ClipVisionModel:
    """Load an open_clip folder, or a weights file with its architecture. Raises ModelUnavailable when it is neither."""
    path = Path(spec.path)
    if path.is_dir():
        name, weights, files = f"local-dir:{path}", None, _identity_files(path)
    elif spec.architecture in open_clip.list_models():
        name, weights, files = spec.architecture, str(path), [path]
    else:
        known = f"open_clip knows no {spec.architecture!r}" if spec.architecture else "architecture is not set"
        raise ModelUnavailable("clip_h", f'{path} is a bare weights file and {known}; set architecture = "ViT-H-14"')
    model, _, transform = open_clip.create_model_and_transforms(
        name, pretrained=weights, precision="fp32", device="cpu", weights_only=True
    )
    if not isinstance(model, open_clip.CLIP) or not isinstance(
        open_clip.get_tokenizer(name), open_clip.SimpleTokenizer
    ):
        raise ModelUnavailable("clip_h", f"{path} is no CLIP model with CLIP's own tokenizer; ViT-H-14 (laion2b) is")
    identity = model_identity("clip_h", POOLING_VERSION, files, path, cache_folder)
    return ClipVisionModel(model.to(spec.device, torch_dtype(spec.dtype)).eval(), transform, spec, identity)


def _identity_files(folder: Path) -> list[Path]:
    weights = next((folder / name for name in _WEIGHT_NAMES if (folder / name).is_file()), None)
    configuration = folder / "open_clip_config.json"
    if weights is None or not configuration.is_file():
        raise ModelUnavailable(
            "clip_h", f"{folder} is no open_clip folder (open_clip_config.json and {_WEIGHT_NAMES[0]})"
        )
    return [weights, configuration]
