"""Depth maps by a depth-estimation model of transformers from a local folder: near is white, far is black."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from indexd.errors import ModelUnavailable
from indexd.models.device import is_out_of_memory
from indexd.models.model_identity import model_identity

log = logging.getLogger(__name__)

DEPTH_ROLE = "depth map"
# These answer with distances (far is large), the others with disparities (near is large).
_METRIC_MODELS = ("zoedepth", "depth_pro", "prompt_depth_anything")


class DepthModel:
    """A loaded model; `identity` names its revision."""

    def __init__(self, model: Any, processor: Any, identity: str) -> None:
        self._model = model
        self._processor = processor
        config = model.config
        self._metric = (
            config.model_type in _METRIC_MODELS or getattr(config, "depth_estimation_type", "relative") == "metric"
        )
        self.identity = identity

    def render_map(self, image: Image.Image) -> Image.Image:
        """The depth of an RGB image in its own size, stretched from black to white."""
        given = self._processor(images=image, return_tensors="pt").to(self._model.device, self._model.dtype)
        with torch.no_grad():
            depth = self._model(**given).predicted_depth
        size = (image.height, image.width)
        depth = torch.nn.functional.interpolate(depth[:, None].float(), size, mode="bicubic", align_corners=False)
        values = depth[0, 0].cpu().numpy()
        values = -values if self._metric else values
        lowest, highest = float(values.min()), float(values.max())
        span = highest - lowest
        if not np.isfinite(span) or span <= 0:
            return Image.new("RGB", image.size)
        grey = ((values - lowest) * (255.0 / span)).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")


def load_depth_model(folder: str, device: str, cache_folder: str) -> DepthModel:
    """The model of a local folder, computing in float32. Raises ModelUnavailable with the reason."""
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    path = Path(folder)
    if not path.is_dir():
        raise ModelUnavailable(DEPTH_ROLE, f"there is no folder {path}; correct [control] depth_model")
    try:
        model = AutoModelForDepthEstimation.from_pretrained(
            path, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        processor = AutoImageProcessor.from_pretrained(path, local_files_only=True)
        model.to(device).eval()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        log.exception("loading %s", path)
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelUnavailable(DEPTH_ROLE, f"{path} cannot be loaded: {first[:300]}") from error
    return DepthModel(model, processor, depth_identity(folder, cache_folder))


def depth_identity(folder: str, cache_folder: str) -> str:
    """What tells the maps of this model from those of another. Raises ModelUnavailable where there are no weights."""
    path = Path(folder)
    files = [*path.glob("*.safetensors"), *path.glob("*.json")]
    if not any(file.suffix == ".safetensors" for file in files):
        raise ModelUnavailable(DEPTH_ROLE, f"{path} holds no .safetensors file; correct [control] depth_model")
    return f"depth/{model_identity('depth', 1, files, path, cache_folder).rpartition('/')[2][:10]}"
