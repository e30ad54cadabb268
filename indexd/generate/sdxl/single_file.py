"""A single-file SDXL checkpoint (original layout) -> a diffusers pipeline and the noise of its training, without a hub.

The configuration is the folder `<name>.config` beside the checkpoint where there is one (another size, other tokenizers), else
the built-in one of SDXL base. Tokenizers come from that folder, else from open_clip's vocabulary.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from indexd.errors import RenderFailed
from indexd.generate.sampling.noise_levels import TrainedNoise
from indexd.generate.sdxl.clip_tokenizers import build_clip_tokenizers
from indexd.generate.sdxl.family import REQUIRED_KEYS
from indexd.generate.usable_files import raise_if_unusable
from indexd.model_headers.verdict import UNET_CHANNELS

SHIPPED_CONFIG = Path(__file__).parent / "config"
_VAE_PREFIX = "first_stage_model."
# ComfyUI's scaled fp8, in its first form and in that of its QUANTIZATION.md: a weight is the stored value times a number beside it.
_SCALE_SUFFIXES = (".scale_weight", ".weight_scale")
_SCALED_FP8_SUFFIXES = (*_SCALE_SUFFIXES, "scaled_fp8", ".scale_input", ".input_scale", ".comfy_quant")
# Lowest levels of the EDM models whose files state only the highest (CosXL), and both ends of Playground 2.5.
_EDM_SIGMA_MIN, _PLAYGROUND_SIGMAS, _PLAYGROUND_SIGMA_DATA = 0.002, (0.002, 80.0), 0.5
_PLAYGROUND_SCALING_FACTOR = 0.5


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """What was loaded: `has_vae` is False where the file has none, and the pipeline's VAE has no weights then."""

    pipeline: Any
    noise: TrainedNoise
    has_vae: bool


@dataclass(frozen=True, slots=True)
class _Contents:
    """Names of a checkpoint's tensors, values of the small ones that describe the model, and its header."""

    names: frozenset[str]
    marks: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]
    channels: int

    @property
    def is_scaled_fp8(self) -> bool:
        return any(name.endswith(_SCALED_FP8_SUFFIXES) for name in self.names)


def load_single_file(path: Path, dtype: torch.dtype, *, pickle_allowed: bool, scratch_folder: str) -> LoadedCheckpoint:
    """The model on the CPU in `dtype`. Raises RenderFailed when the file is damaged or no SDXL checkpoint.

    Scaled fp8 weights are multiplied out into a temporary file of their size in `dtype` in `scratch_folder`.
    """
    contents = _read_contents(path, pickle_allowed=pickle_allowed)
    config = path.with_suffix(".config")
    if not config.is_dir():
        config = SHIPPED_CONFIG
    if (config / "tokenizer").is_dir():
        tokenizers = tuple(
            CLIPTokenizer.from_pretrained(config, subfolder=name, local_files_only=True)
            for name in ("tokenizer", "tokenizer_2")
        )
    else:
        tokenizers = build_clip_tokenizers()
    has_vae = any(name.startswith(_VAE_PREFIX) for name in contents.names)
    given = {} if has_vae else {"vae": _vae_without_weights(config, dtype)}
    with (
        _plain_weights(path, contents, dtype, scratch_folder) as file,
        _config_for_channels(config, contents.channels) as fitting,
        _naming_missing_tensors(path),
    ):
        pipeline = StableDiffusionXLPipeline.from_single_file(
            str(file),
            config=str(fitting),
            local_files_only=True,
            dtype=dtype,
            tokenizer=tokenizers[0],
            tokenizer_2=tokenizers[1],
            add_watermarker=False,
            **given,
        )
    if {"edm_mean", "edm_std"} <= contents.names:
        pipeline.vae.register_to_config(
            latents_mean=contents.marks["edm_mean"].flatten().tolist(),
            latents_std=contents.marks["edm_std"].flatten().tolist(),
            scaling_factor=_PLAYGROUND_SCALING_FACTOR,
        )
    return LoadedCheckpoint(pipeline, _trained_noise(contents, pipeline.scheduler.config), has_vae)


@contextmanager
def _config_for_channels(config: Path, channels: int) -> Iterator[Path]:
    """The configuration, or a temporary copy of it whose UNet takes the channels of the checkpoint."""
    stated = json.loads((config / "unet" / "config.json").read_text("utf-8"))
    if stated.get("in_channels") == channels:
        yield config
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "config"
        shutil.copytree(config, copy, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
        (copy / "unet" / "config.json").write_text(json.dumps(stated | {"in_channels": channels}), "utf-8")
        yield copy


@contextmanager
def _naming_missing_tensors(path: Path) -> Iterator[None]:
    """Says which tensor the file lacks: diffusers leaves it on the device `meta`, and torch then fails to copy it.

    The module is a local variable where that happened.
    """
    try:
        yield
    except NotImplementedError as error:
        if "meta tensor" not in str(error):
            raise
        raise RenderFailed(
            f"checkpoint {path.name} is incomplete: it has no tensor {_first_missing_parameter(error)}; copy the file again"
        ) from error


def _first_missing_parameter(error: BaseException) -> str:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in frame.f_locals.values():
            if isinstance(value, torch.nn.Module):
                missing = next((name for name, weight in value.state_dict().items() if weight.is_meta), None)
                if missing is not None:
                    return f"{missing} of its {type(value).__name__}"
    return "of its UNet, VAE or text encoders"


def _vae_without_weights(config: Path, dtype: torch.dtype) -> Any:
    vae: Any = AutoencoderKL.from_config(AutoencoderKL.load_config(config, subfolder="vae"))
    return vae.to(dtype)


def _trained_noise(contents: _Contents, config: Mapping[str, Any]) -> TrainedNoise:
    """The noise of the configuration, or the one that the file states: tensors of these names mark other training."""
    noise = TrainedNoise.from_config(config)
    if {"edm_mean", "edm_std"} <= contents.names:
        return dataclasses.replace(noise, edm_sigmas=_PLAYGROUND_SIGMAS, sigma_data=_PLAYGROUND_SIGMA_DATA)
    if "edm_vpred.sigma_max" in contents.names:
        low = contents.marks.get("edm_vpred.sigma_min", torch.tensor(_EDM_SIGMA_MIN))
        sigmas = (float(low), float(contents.marks["edm_vpred.sigma_max"]))
        return dataclasses.replace(noise, prediction_type="v_prediction", edm_sigmas=sigmas, sigma_data=1.0)
    if "v_pred" in contents.names or contents.metadata.get("modelspec.prediction_type") == "v":
        noise = dataclasses.replace(noise, prediction_type="v_prediction")
    if "ztsnr" in contents.names:
        noise = dataclasses.replace(noise, zero_terminal_snr=True)
    return noise


def _read_contents(path: Path, *, pickle_allowed: bool) -> _Contents:
    """Raises RenderFailed with why the file cannot be used."""
    raise_if_unusable("checkpoint", path.name, path, pickle_allowed=pickle_allowed)
    contents = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    missing = next((key for key in REQUIRED_KEYS if key not in contents.names), None)
    if missing is not None:
        raise RenderFailed(
            f"checkpoint {path.name} is no SDXL checkpoint: it has no {missing}; "
            "name a full SDXL base model (UNet and both text encoders)"
        )
    check_channels(path.name, contents.channels)
    return contents


def check_channels(name: str, channels: int) -> None:
    """Raises RenderFailed for a UNet that is neither a base model nor one for inpainting."""
    if channels not in UNET_CHANNELS:
        raise RenderFailed(
            f"checkpoint {name} takes {channels} input channels (an edit or depth model); "
            f"indexd renders with those of {' or '.join(map(str, UNET_CHANNELS))}"
        )


def _apply_scale(path: Path, name: str, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The weight in float32 times its scale, which is one number or one a row. Raises RenderFailed for scales of blocks."""
    if scale.numel() not in (1, len(weight)):
        raise RenderFailed(
            f"checkpoint {path.name} is quantized in blocks ({name}); use its fp16, bf16 or plain fp8 file"
        )
    return weight.float() * scale.float().reshape(-1, *[1] * (weight.ndim - 1))


def _is_mark(name: str) -> bool:
    return name.startswith("edm_") and "." not in name.removeprefix("edm_vpred.")


def _read_safetensors(path: Path) -> _Contents:
    try:
        with safe_open(path, framework="pt") as file:
            names = frozenset(file.keys())
            marks = {name: file.get_tensor(name) for name in names if _is_mark(name)}
            channels = int(file.get_slice(REQUIRED_KEYS[1]).get_shape()[1]) if REQUIRED_KEYS[1] in names else 0
            return _Contents(names, marks, file.metadata() or {}, channels)
    except (OSError, SafetensorError) as error:
        raise RenderFailed(f"checkpoint {path.name} cannot be read: {error}; the file may be half copied") from error


def _read_pickle(path: Path) -> _Contents:
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises what it likes on what it does not allow
        raise RenderFailed(f"checkpoint {path.name} cannot be read: {type(error).__name__}") from error
    while isinstance(weights, Mapping) and "state_dict" in weights:
        weights = weights["state_dict"]
    if not isinstance(weights, Mapping):
        raise RenderFailed(f"checkpoint {path.name} is no SDXL checkpoint: it has no named weights")
    first = weights.get(REQUIRED_KEYS[1])
    channels = int(first.shape[1]) if isinstance(first, torch.Tensor) else 0
    return _Contents(
        frozenset(weights), {name: weight for name, weight in weights.items() if _is_mark(name)}, {}, channels
    )


@contextmanager
def _plain_weights(path: Path, contents: _Contents, dtype: torch.dtype, scratch_folder: str) -> Iterator[Path]:
    """A file with plain weights: `path` itself, or a temporary one for a checkpoint in scaled fp8."""
    if not contents.is_scaled_fp8:
        yield path
        return
    Path(scratch_folder).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch_folder) as folder:
        plain = Path(folder) / path.name
        weights: dict[str, torch.Tensor] = {}
        with safe_open(path, framework="pt") as file:
            for name in contents.names:
                if name.endswith(_SCALED_FP8_SUFFIXES):
                    continue
                weight, stem = file.get_tensor(name), name.removesuffix(".weight")
                scale = next((stem + ending for ending in _SCALE_SUFFIXES if stem + ending in contents.names), None)
                if scale is not None:
                    weight = _apply_scale(path, name, weight, file.get_tensor(scale)).to(dtype)
                weights[name] = weight
        save_file(weights, plain)
        yield plain
