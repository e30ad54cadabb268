"""The resident SDXL pipeline: loaded once from a folder or a single file, kept by the pool, reused by the next render."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from indexd.errors import IndexdError, ModelUnavailable, RenderFailed
from indexd.generate.adapters.lora_adapters import LoraAdapters
from indexd.generate.sampling.diffusers_schedulers import TrainedNoise
from indexd.generate.sdxl.single_file import load_single_file
from indexd.generate.sdxl.text_encoding import TextEncoders
from indexd.models.device import is_out_of_memory, resolve_device, resolve_dtype, torch_dtype
from indexd.models.model_identity import model_identity, short_hash
from indexd.worker.calls import GENERATOR, ModelSpec, WorkerSettings
from indexd.worker.session import RenderSession

log = logging.getLogger(__name__)

DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class ResidentPipeline:
    """One loaded model. Both pipelines share every module; the VAE is float32 where half precision would overflow it."""

    text_to_image: Any
    image_to_image: Any
    encoders: TextEncoders
    loras: LoraAdapters
    trained_noise: TrainedNoise
    device: torch.device
    dtype_name: str
    model_hash: str


@contextmanager
def lease_pipeline(session: RenderSession, checkpoint: str, dtype: str | None) -> Iterator[ResidentPipeline]:
    """The pipeline of `checkpoint`, not evicted before the block is left.

    `dtype` is the one a recipe asks for; None = the setting's, where auto is half precision on a card and float32 on the
    CPU. Raises ModelOff when nothing lies at the path, RenderFailed when it cannot be loaded.
    """
    spec = generator_spec(session, checkpoint)
    path = Path(checkpoint)
    device = resolve_device(spec.device, GENERATOR)
    dtype_name = resolve_dtype(dtype or spec.dtype, device)
    if dtype_name not in DTYPES:
        raise RenderFailed(f"there is no number format {dtype_name!r}; there are auto, {', '.join(DTYPES)}")
    key = f"{GENERATOR}|{path}|{_latest_mtime(path)}|{device}|{dtype_name}"
    load = partial(_load_pipeline, path, torch.device(device), dtype_name, session.settings)
    with session.pool.lease(GENERATOR, key, load, spec.keep_alive_seconds) as model:
        yield model


def generator_spec(session: RenderSession, checkpoint: str = "") -> ModelSpec:
    """Device, number format and keep-alive of everything that makes pictures. A job may name a checkpoint from the catalogue where the role itself has no model."""
    try:
        return session.spec(GENERATOR)
    except ModelUnavailable:
        return ModelSpec(GENERATOR, checkpoint)


def _latest_mtime(path: Path) -> int:
    """A newer file under the same name is another model."""
    try:
        files = [path] if path.is_file() else [path / "model_index.json", *path.glob("*/*.safetensors")]
        return max(file.stat().st_mtime_ns for file in files)
    except OSError as error:
        raise ModelUnavailable(
            GENERATOR, f"{path} is no checkpoint file and no diffusers folder ({error.strerror})"
        ) from error


def _load_pipeline(path: Path, device: torch.device, dtype_name: str, settings: WorkerSettings) -> ResidentPipeline:
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
    # The same recipe must give the same bytes: no kernel may be chosen by a race between kernels.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    dtype = torch_dtype(dtype_name)
    try:
        if path.is_dir():
            pipeline = _load_folder(path, dtype)
        else:
            pipeline = load_single_file(path, dtype, pickle_allowed=settings.pickle_checkpoints)
        pipeline.to(device)
        model_hash = _model_hash(path, settings.cache_folder)
    except IndexdError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        log.exception("loading %s", path)
        raise RenderFailed(f"checkpoint {path.name} cannot be loaded: {_first_line(error)}") from error
    return _build_resident(pipeline, device, dtype_name, model_hash)


def _load_folder(path: Path, dtype: torch.dtype) -> Any:
    whole, half = path / "unet" / "diffusion_pytorch_model.safetensors", "fp16"
    variant = half if not whole.is_file() and any((path / "unet").glob(f"*.{half}*.safetensors")) else None
    return StableDiffusionXLPipeline.from_pretrained(
        str(path),
        dtype=dtype,
        variant=variant,
        use_safetensors=True,
        local_files_only=True,
        add_watermarker=False,
    )


def _model_hash(path: Path, cache_folder: str) -> str:
    """A1111's model hash: ten digits of the SHA-256, for a folder of the hashes of its weights."""
    if path.is_file():
        return short_hash(path, cache_folder)
    return model_identity(GENERATOR, 1, path.glob("*/*.safetensors"), path, cache_folder).rpartition("/")[2][:10]


def _build_resident(pipeline: Any, device: torch.device, dtype_name: str, model_hash: str) -> ResidentPipeline:
    if pipeline.unet.config.in_channels != 4:
        raise RenderFailed(f"this UNet takes {pipeline.unet.config.in_channels} latent channels, not 4")
    if pipeline.vae.config.force_upcast and pipeline.vae.dtype != torch.float32:
        # What diffusers does for each decode, done once: SDXL's own VAE overflows in half precision.
        pipeline.vae.to(torch.float32)
    # torch chooses between mm and bmm by requires_grad, and peft turns it off for the layers that it wraps:
    # without this, a render after the first LoRA would run other kernels than the one before it.
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        if module is not None:
            module.requires_grad_(False)
    # Cls(**components), not from_pipe: that one casts the shared modules to float32 without saying so.
    image_to_image = StableDiffusionXLImg2ImgPipeline(
        **pipeline.components,
        force_zeros_for_empty_prompt=pipeline.config.force_zeros_for_empty_prompt,
        add_watermarker=False,
    )
    for each in (pipeline, image_to_image):
        each.set_progress_bar_config(disable=True)
    return ResidentPipeline(
        text_to_image=pipeline,
        image_to_image=image_to_image,
        encoders=TextEncoders(pipeline),
        loras=LoraAdapters(pipeline),
        trained_noise=TrainedNoise.from_config(pipeline.scheduler.config),
        device=device,
        dtype_name=dtype_name,
        model_hash=model_hash,
    )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
