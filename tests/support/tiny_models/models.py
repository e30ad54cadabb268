"""Tiny models of the real architectures with a fixed seed: for every test and benchmark that loads a model.

The UNet has SDXL's blocks with 17 transformer layers in the place of 70: each costs a test as much time as a large one.

They are built in seconds from nothing but the libraries, take a few megabytes, and load through the same code as the
real ones. Their pictures are patterns and their vectors mean nothing, but equal input gives equal output.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from indexd_toyworld.original_layout import original_layout_weights
from tests.support.tiny_models.build_once import built_once
from tests.support.tiny_models.lora import lora_weights
from tests.support.tiny_models.tokenizers import CLIP_VOCABULARY, bert_tokenizer, write_clip_tokenizer

CLIP_L_WIDTH = 24
CLIP_G_WIDTH = 32
BGE_WIDTH = 64
CLIP_H_WIDTH = 64
INITIALIZER_RANGE = 0.2
"""Spread of the weights. At the libraries' 0.02 an untrained encoder answers nearly the same to every text."""
CLIP_INITIALIZER_FACTOR = 4.0
"""The same for CLIP, whose initializer scales by layer."""

VISION_MODEL: dict[str, Any] = {
    "embed_dim": CLIP_H_WIDTH,
    "vision_cfg": {"image_size": 56, "layers": 2, "width": 64, "head_width": 16, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
"""ViT-H/14 in small: same topology, same tokenizer."""


@dataclass(frozen=True, slots=True)
class TinyModels:
    """Where the tiny models lie.

    `single_file` is the same model as the folder `sdxl`, in the original layout; `single_file_config` holds the
    configuration and tokenizers for it (what indexd/generate/sdxl/config is for the real size) and lies beside it under
    the name `<stem>.config`.
    """

    folder: Path
    sdxl: Path
    single_file: Path
    single_file_config: Path
    lora: Path
    bge: Path
    clip_h: Path
    upscaler: Path


def models_in(folder: Path) -> TinyModels:
    """The paths inside `folder`, whether they are there or not."""
    return TinyModels(
        folder=folder,
        sdxl=folder / "tiny-sdxl",
        single_file=folder / "checkpoints" / "tiny-single.safetensors",
        single_file_config=folder / "checkpoints" / "tiny-single.config",
        lora=folder / "loras" / "tiny-lora.safetensors",
        bge=folder / "tiny-bge",
        clip_h=folder / "tiny-clip-h",
        upscaler=folder / "upscalers" / "tiny-x2.safetensors",
    )


def build_models(folder: Path) -> TinyModels:
    """Build every tiny model under `folder`, which may exist; what is complete there is left as it is."""
    models = models_in(folder)
    if folder.is_dir():
        return models
    with built_once(folder, 20_240_229) as scratch:
        built = models_in(scratch)
        _build_sdxl(built)
        _build_bge(built.bge)
        _build_clip_h(built.clip_h)
        _build_upscaler(built.upscaler)
    return models


def _build_sdxl(models: TinyModels) -> None:
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 4),
        cross_attention_dim=CLIP_L_WIDTH + CLIP_G_WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=CLIP_G_WIDTH + 6 * 8,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=0.13025,
        force_upcast=True,
    )
    _strengthen_output(vae)
    clip_l = CLIPTextModel(_clip_config(CLIP_L_WIDTH, "quick_gelu"))
    clip_g = CLIPTextModelWithProjection(_clip_config(CLIP_G_WIDTH, "gelu"))
    write_clip_tokenizer(models.sdxl / "tokenizer", pad_token="<|endoftext|>")
    write_clip_tokenizer(models.sdxl / "tokenizer_2", pad_token="!")
    pipeline = StableDiffusionXLPipeline(
        vae=vae.half(),
        text_encoder=clip_l.half(),
        text_encoder_2=clip_g.half(),
        tokenizer=CLIPTokenizer.from_pretrained(models.sdxl / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(models.sdxl / "tokenizer_2"),
        unet=unet.half(),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        add_watermarker=False,
    )
    pipeline.save_pretrained(models.sdxl)
    models.single_file.parent.mkdir(parents=True)
    weights = original_layout_weights(
        unet.state_dict(), vae.state_dict(), clip_l.state_dict(), clip_g.state_dict(), layers_per_block=2
    )
    save_file(weights, models.single_file, metadata={"modelspec.architecture": "stable-diffusion-xl-v1-base"})
    shutil.copytree(models.sdxl, models.single_file_config, ignore=shutil.ignore_patterns("*.safetensors"))
    models.lora.parent.mkdir(parents=True)
    save_file(lora_weights(unet, clip_l, clip_g), models.lora, metadata={"ss_network_module": "networks.lora"})


def _strengthen_output(vae: AutoencoderKL) -> None:
    """Untrained, the decoder answers in one shade of grey; with a stronger last layer its patterns are seen."""
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(2.0)


def _clip_config(width: int, activation: str) -> CLIPTextConfig:
    """`eos_token_id` 2 is what the real SDXL configurations say: the end is found as the highest token."""
    return CLIPTextConfig(
        vocab_size=CLIP_VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act=activation,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
        initializer_factor=CLIP_INITIALIZER_FACTOR,
    )


def _build_bge(folder: Path) -> None:
    tokenizer = bert_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=BGE_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * BGE_WIDTH,
        max_position_embeddings=512,
        initializer_range=INITIALIZER_RANGE,
    )
    BertModel(config).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # The form of the published folder, read by every version of the library.
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(
            [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
        )
    ]
    pooling = {"word_embedding_dimension": BGE_WIDTH, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), "utf-8")
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 512, "do_lower_case": True}), "utf-8"
    )
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"__version__": {}}), "utf-8")
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")


def _build_clip_h(folder: Path) -> None:
    """A folder as open_clip publishes them: open_clip_config.json and open_clip_model.safetensors."""
    folder.mkdir(parents=True)
    model = open_clip.CLIP(**VISION_MODEL)
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    description = {"model_cfg": VISION_MODEL, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(description, indent=2), "utf-8")
    weights = {name: weight.half().contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def _build_upscaler(file: Path) -> None:
    """SRVGGNetCompact (the architecture of Real-ESRGAN's small models) in small: enlarges twice and adds a faint pattern.

    Three convolutions of 3x3: what a pixel becomes depends on 3 pixels around it.
    """
    width, scale = 8, 2
    shapes = {
        "body.0.weight": (width, 3, 3, 3),
        "body.0.bias": (width,),
        "body.1.weight": (width,),
        "body.2.weight": (width, width, 3, 3),
        "body.2.bias": (width,),
        "body.3.weight": (width,),
        "body.4.weight": (3 * scale**2, width, 3, 3),
        "body.4.bias": (3 * scale**2,),
    }
    file.parent.mkdir(parents=True)
    save_file({name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}, file)
