"""ControlNets from disk: a folder of diffusers, or a single safetensors file with diffusers' or the original names.

A file says nothing of its architecture; what its weights do not show is that of the UNet it steers.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors import SafetensorError
from safetensors.torch import load_file

from indexd.errors import IndexdError, RenderFailed
from indexd.generate.finite_weights import raise_if_not_finite
from indexd.generate.sdxl.pipeline import SdxlModel
from indexd.models.device import is_out_of_memory
from indexd.models.model_identity import model_identity, short_hash
from indexd.worker.session import RenderSession

log = logging.getLogger(__name__)

CONTROLNET_ROLE = "controlnet"
_CONFIG = "config.json"
_UNION_KEY = "task_embedding"
# What ControlNets take over from the UNet they were made from (diffusers' from_unet).
_FROM_UNET = (
    *("in_channels", "flip_sin_to_cos", "freq_shift", "only_cross_attention", "block_out_channels", "layers_per_block"),
    *("downsample_padding", "mid_block_scale_factor", "act_fn", "norm_num_groups", "norm_eps", "cross_attention_dim"),
    *("attention_head_dim", "num_attention_heads", "use_linear_projection", "class_embed_type", "num_class_embeds"),
    *("upcast_attention", "resnet_time_scale_shift", "addition_embed_type", "addition_time_embed_dim"),
    *("projection_class_embeddings_input_dim", "down_block_types", "transformer_layers_per_block"),
)


@dataclass(frozen=True, slots=True)
class LoadedControlNet:
    """A loaded ControlNet. `union_type_count` is the number of control types of a union ControlNet (0 = no union)."""

    net: Any
    hash: str
    union_type_count: int


def lease_controlnet(
    session: RenderSession, model: SdxlModel, name: str, file: str
) -> AbstractContextManager[LoadedControlNet]:
    """The ControlNet at `file`, resident beside `model` in its number format.

    Raises RenderFailed when it cannot be read, is of another kind or does not fit.
    """
    path, unet = Path(file), model.pipeline.unet
    weights = _weight_files(path, name)
    try:
        stamp = max(one.stat().st_mtime_ns for one in weights)
    except OSError as error:
        raise RenderFailed(f"ControlNet {name} cannot be read: {error.strerror}") from error
    key = f"{CONTROLNET_ROLE}|{path}|{stamp}|{model.device}|{unet.dtype}"
    load = partial(_load_controlnet, path, name, weights, unet, model.device, session.settings.cache_folder)
    return session.pool.lease(CONTROLNET_ROLE, key, load, session.settings.control.keep_alive_seconds)


def _weight_files(path: Path, name: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    whole = path / "diffusion_pytorch_model.safetensors"
    found = (
        [whole] if whole.is_file() else sorted(path.glob("*.fp16.safetensors")) or sorted(path.glob("*.safetensors"))
    )
    if not found:
        raise RenderFailed(f"ControlNet {name}: its folder holds no .safetensors file")
    return found


def _load_controlnet(
    path: Path, name: str, files: list[Path], unet: Any, device: torch.device, cache_folder: str
) -> LoadedControlNet:
    try:
        weights: dict[str, torch.Tensor] = {}
        for file in files:
            weights |= load_file(file)
        config = _read_config(path)
        if config is None:
            _reject_other_kinds(weights, name)
            config = _infer_config(unet, weights)
            weights = _convert_keys(weights, config) if _has_original_keys(weights) else weights
        net = _build_net(weights, config)
        net.to(device, unet.dtype).eval().requires_grad_(False)
        _check_fit(net, unet, name)
        raise_if_not_finite(f"ControlNet {name}", net.state_dict())
    except IndexdError:
        raise
    except (OSError, SafetensorError) as error:
        raise RenderFailed(f"ControlNet {name} cannot be read: {error}; the file may be half copied") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        log.exception("loading %s", path)
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RenderFailed(f"ControlNet {name} cannot be loaded: {first[:300]}") from error
    types = net.config.num_control_type if isinstance(net, ControlNetUnionModel) else 0
    return LoadedControlNet(net, _model_hash(path, files, cache_folder), types)


def _model_hash(path: Path, files: list[Path], cache_folder: str) -> str:
    if path.is_file():
        return short_hash(path, cache_folder)
    return model_identity(CONTROLNET_ROLE, 1, files, path, cache_folder).rpartition("/")[2][:10]


def _read_config(path: Path) -> dict[str, Any] | None:
    """The configuration in a folder, or beside a file as `<name>.json`; None = there is none."""
    file = path / _CONFIG if path.is_dir() else path.with_suffix(".json")
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return found if isinstance(found, dict) and "block_out_channels" in found else None


def _build_net(weights: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Any:
    kind = ControlNetUnionModel if _UNION_KEY in weights else ControlNetModel
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    with torch.device("meta"):
        net = kind.from_config(arguments)
    missing, unknown = net.load_state_dict(weights, strict=False, assign=True)
    if missing or unknown:
        raise ValueError(
            f"its weights do not fit its architecture: {len(missing)} are missing and {len(unknown)} are unknown, "
            f"such as {[*missing, *unknown][0]}"
        )
    return net


def _has_original_keys(weights: Mapping[str, torch.Tensor]) -> bool:
    return any(key.endswith("input_blocks.0.0.weight") for key in weights)


def _convert_keys(weights: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Original names as diffusers'; its converter knows those of SD 1 and 2, so SDXL's embedding of sizes is added here."""
    found: dict[str, torch.Tensor] = convert_controlnet_checkpoint(weights, config)
    for key, weight in weights.items():
        _, mark, rest = key.rpartition("label_emb.0.")
        if mark:
            layer, _, kind = rest.partition(".")
            found[f"add_embedding.linear_{int(layer) // 2 + 1}.{kind}"] = weight
    return found


def _reject_other_kinds(weights: Mapping[str, torch.Tensor], name: str) -> None:
    keys = list(weights)
    if any(key.startswith("lllite_") for key in keys):
        kind = "a ControlNet-LLLite"
    elif "lora_controlnet" in keys:
        kind = "a Control-LoRA"
    elif any(key.startswith(("adapter.", "body.")) for key in keys):
        kind = "a T2I-Adapter"
    elif _has_original_keys(weights) or "controlnet_cond_embedding.conv_in.weight" in weights:
        return
    else:
        kind = "no ControlNet"
    raise RenderFailed(
        f"ControlNet {name} is {kind}, which is not understood; take a full ControlNet or ControlNet-union for SDXL"
    )


def _infer_config(unet: Any, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The architecture of a file: the UNet's, with what the weights themselves show."""
    config = {key: unet.config[key] for key in _FROM_UNET if key in unet.config}
    if _has_original_keys(weights):
        return config
    blocks = len(config["block_out_channels"])
    depth = [_transformer_depth(weights, rf"down_blocks\.{block}\.attentions\.\d+\.") for block in range(blocks)]
    config["down_block_types"] = tuple("CrossAttnDownBlock2D" if each else "DownBlock2D" for each in depth)
    config["transformer_layers_per_block"] = [each or 1 for each in depth]
    embedding = "controlnet_cond_embedding"
    config["conditioning_channels"] = weights[f"{embedding}.conv_in.weight"].shape[1]
    steps = sorted(int(match[1]) for key in weights if (match := re.match(rf"{embedding}\.blocks\.(\d+)\.weight", key)))
    widths = [weights[f"{embedding}.conv_in.weight"].shape[0]]
    widths += [weights[f"{embedding}.blocks.{step}.weight"].shape[0] for step in steps if step % 2]
    config["conditioning_embedding_out_channels"] = tuple(widths)
    if _UNION_KEY in weights:
        config["num_control_type"], config["num_trans_channel"] = weights[_UNION_KEY].shape
        config["num_trans_layer"] = 1 + max(
            int(key.split(".")[1]) for key in weights if key.startswith("transformer_l")
        )
        config["num_proj_channel"] = weights["spatial_ch_projs.weight"].shape[0]
    elif not _transformer_depth(weights, r"mid_block\.attentions\.\d+\."):
        config["mid_block_type"] = "UNetMidBlock2D"
    return config


def _transformer_depth(weights: Mapping[str, torch.Tensor], prefix: str) -> int:
    pattern = re.compile(rf"{prefix}transformer_blocks\.(\d+)\.")
    return 1 + max((int(match[1]) for key in weights if (match := pattern.match(key))), default=-1)


def _check_fit(net: Any, unet: Any, name: str) -> None:
    for key in ("cross_attention_dim", "block_out_channels", "layers_per_block", "addition_embed_type"):
        ours, theirs = unet.config[key], net.config[key]
        if (list(ours) if isinstance(ours, tuple | list) else ours) != (
            list(theirs) if isinstance(theirs, tuple | list) else theirs
        ):
            raise RenderFailed(
                f"ControlNet {name} is made for another kind of model: its {key} is {theirs}, the checkpoint's {ours}; "
                "take one for SDXL"
            )
