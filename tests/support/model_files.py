"""Model files that have a header and no weights: their tensors are holes of a sparse file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

Shapes = Mapping[str, tuple[int, ...]]

_UNET = "model.diffusion_model."
_CROSS_ATTENTION = "transformer_blocks.0.attn2.to_k.weight"
UNET_SHAPES: Shapes = {"input_blocks.0.0.weight": (320, 4, 3, 3), "out.2.weight": (4, 320, 3, 3)}
SDXL_CHECKPOINT: Shapes = {
    **{_UNET + name: shape for name, shape in UNET_SHAPES.items()},
    _UNET + "label_emb.0.0.weight": (1280, 2816),
    _UNET + "input_blocks.4.1." + _CROSS_ATTENTION: (640, 2048),
    "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight": (100, 768),
    "conditioner.embedders.1.model.token_embedding.weight": (100, 1280),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
}
SD1_CHECKPOINT: Shapes = {
    **{_UNET + name: shape for name, shape in UNET_SHAPES.items()},
    _UNET + "input_blocks.1.1." + _CROSS_ATTENTION: (320, 768),
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (100, 768),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
}
SDXL_LORA: Shapes = {
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (8, 2048),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight": (640, 8),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.alpha": (),
    "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (8, 1280),
    "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": (5120, 8),
}
SD1_LORA: Shapes = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (8, 768),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": (320, 8),
}
VAE: Shapes = {"decoder.conv_in.weight": (512, 4, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)}
SDXL_EMBEDDING: Shapes = {"clip_l": (2, 768), "clip_g": (2, 1280)}
SDXL_CONTROL_NET: Shapes = {
    "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3),
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
}
IP_ADAPTER: Shapes = {"image_proj.proj.weight": (8192, 1280), "ip_adapter.1.to_k_ip.weight": (640, 2048)}
UPSCALER: Shapes = {"conv_first.weight": (64, 3, 3, 3)}


def header_bytes(shapes: Shapes, metadata: Mapping[str, str] | None = None, dtype: str = "F16") -> tuple[bytes, int]:
    """The bytes before the tensors, and the size of the whole file."""
    width = {"F16": 2, "F32": 4}.get(dtype, 1)
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, shape in shapes.items():
        end = place + math.prod(shape) * width
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + place


def write_model(path: Path, shapes: Shapes, metadata: Mapping[str, str] | None = None, dtype: str = "F16") -> Path:
    """A .safetensors file with these tensors, all zeros; it takes a few KiB on disk."""
    start, size = header_bytes(shapes, metadata, dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)
    return path


PICKLE = b"\x80\x04N."
"""The pickle of None."""
