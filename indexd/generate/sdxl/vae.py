"""Another VAE than the checkpoint's own: a file in the original or the diffusers layout, resident like a model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AutoencoderKL

from indexd.errors import RenderFailed
from indexd.generate.finite_weights import raise_if_not_finite
from indexd.generate.sdxl.pipeline import SdxlModel
from indexd.generate.usable_files import raise_if_unusable
from indexd.models.device import is_out_of_memory
from indexd.models.model_identity import short_hash
from indexd.worker.calls import GENERATOR
from indexd.worker.session import RenderSession

log = logging.getLogger(__name__)

_KEEP_ALIVE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class LoadedVae:
    module: Any
    hash: str


@contextmanager
def lease_vae(session: RenderSession, model: SdxlModel, file: str) -> Iterator[LoadedVae]:
    """The VAE of `file` with its hash, kept by the pool.

    Raises RenderFailed when the file cannot be read, or its weights have not the sizes of the model's own VAE.
    """
    path, own = Path(file), model.pipeline.vae
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise RenderFailed(f"VAE {path.name} cannot be read: {error.strerror}") from error
    # The model's hash is in the key: the sizes and the scaling factor are those of its own VAE.
    key = f"{GENERATOR} vae|{path}|{stamp}|{model.model_hash}|{model.device}|{own.dtype}"
    load = partial(_load_vae, path, own, model.device, session.settings.cache_folder)
    with session.pool.lease(f"{GENERATOR} vae", key, load, _KEEP_ALIVE_SECONDS) as vae:
        yield vae


def _load_vae(path: Path, own: Any, device: torch.device, cache_folder: str) -> LoadedVae:
    raise_if_unusable("vae", path.name, path, pickle_allowed=False)
    try:
        with TemporaryDirectory() as folder:
            # The configuration is the model's own: the scaling factor belongs to its UNet.
            own.save_config(folder)
            vae: Any = AutoencoderKL.from_single_file(str(path), config=folder, local_files_only=True, dtype=own.dtype)
        missing = next((name for name, weight in vae.named_parameters() if weight.is_meta), None)
        if missing is not None:
            raise ValueError(f"it has no {missing}")
        vae.to(device, own.dtype).eval().requires_grad_(False)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        log.exception("loading %s", path)
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RenderFailed(f"VAE {path.name} does not fit this model or cannot be read: {reason}") from error
    raise_if_not_finite(f"VAE {path.name}", vae.state_dict())
    return LoadedVae(vae, short_hash(path, cache_folder))
