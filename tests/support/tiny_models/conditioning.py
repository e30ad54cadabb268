"""Tiny ControlNets, an IP-Adapter and a depth model of the real architectures, with weights by chance, for the tiny SDXL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessor,
)

from tests.support.tiny_models.build_once import built_once
from tests.support.tiny_models.models import TinyModels

IMAGE_WIDTH = 24
_IMAGE_TOKENS = 4
_UNION_TYPES = 8
_EMBEDDING_CHANNELS = (8, 8, 16, 16)


@dataclass(frozen=True, slots=True)
class TinyConditioningModels:
    """Where they lie: `controls` and `references` are folders for the settings; the rest are models in them."""

    controls: Path
    canny: Path
    tile: Path
    union: Path
    ip_adapters: Path
    adapter: Path
    depth: Path


def conditioning_models_in(folder: Path) -> TinyConditioningModels:
    """The paths inside `folder`, whether they are there or not."""
    controls, references = folder / "controlnet", folder / "ipadapter"
    return TinyConditioningModels(
        controls=controls,
        canny=controls / "tiny-canny",
        tile=controls / "tiny-tile.safetensors",
        union=controls / "tiny-union.safetensors",
        ip_adapters=references,
        adapter=references / "tiny-adapter.safetensors",
        depth=folder / "tiny-depth",
    )


def build_conditioning_models(models: TinyModels, folder: Path) -> TinyConditioningModels:
    """Build them under `folder`; what is there already is left as it is."""
    guides = conditioning_models_in(folder)
    if folder.is_dir():
        return guides
    with built_once(folder, 20_261_121) as scratch:
        built = conditioning_models_in(scratch)
        unet = UNet2DConditionModel.from_pretrained(models.sdxl, subfolder="unet", local_files_only=True)
        _build_controls(unet, built)
        _build_adapter(unet, built)
        _build_depth(built.depth)
    return guides


def _build_controls(unet: UNet2DConditionModel, built: TinyConditioningModels) -> None:
    def lively(net: torch.nn.Module) -> torch.nn.Module:
        """What training starts at zero is given values, so that the picture shows the control."""
        for name, weight in net.named_parameters():
            if name.startswith(("controlnet_", "spatial_ch_projs")):
                torch.nn.init.normal_(weight, std=0.3)
        return net.half()

    plain: Callable[[], ControlNetModel] = lambda: ControlNetModel.from_unet(  # noqa: E731
        unet, conditioning_embedding_out_channels=_EMBEDDING_CHANNELS
    )
    canny = lively(plain())
    assert isinstance(canny, ControlNetModel)
    canny.save_pretrained(built.canny)
    save_file(lively(plain()).state_dict(), built.tile)
    given = {key: value for key, value in plain().config.items() if not key.startswith(("_", "mid_block_type"))}
    given |= {"num_control_type": _UNION_TYPES, "num_trans_channel": 16, "num_proj_channel": 16}
    given["conditioning_embedding_out_channels"] = _EMBEDDING_CHANNELS
    union = lively(ControlNetUnionModel.from_config(given))
    save_file(union.state_dict(), built.union)


def _build_adapter(unet: UNet2DConditionModel, built: TinyConditioningModels) -> None:
    """The layout of the published SDXL adapters: image_proj, and keys and values of every cross attention by odd numbers."""
    cross: int = unet.config["cross_attention_dim"]
    weights = {
        "image_proj.proj.weight": torch.randn(_IMAGE_TOKENS * cross, IMAGE_WIDTH) * 0.3,
        "image_proj.proj.bias": torch.zeros(_IMAGE_TOKENS * cross),
        "image_proj.norm.weight": torch.ones(cross),
        "image_proj.norm.bias": torch.zeros(cross),
    }
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            attention = unet.get_submodule(name.removesuffix(".processor"))
            for part in ("k", "v"):
                shape = attention.get_submodule(f"to_{part}").weight.shape
                weights[f"ip_adapter.{number}.to_{part}_ip.weight"] = torch.randn(*shape) * 0.3
    built.ip_adapters.mkdir(parents=True)
    save_file({name: weight.half() for name, weight in weights.items()}, built.adapter)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        projection_dim=IMAGE_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        initializer_factor=4.0,
    )
    CLIPVisionModelWithProjection(config).half().save_pretrained(built.ip_adapters / "image_encoder")


def _build_depth(folder: Path) -> None:
    config = DPTConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 16, 16, 16],
        fusion_hidden_size=16,
        is_hybrid=False,
        readout_type="ignore",
    )
    DPTForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
