"""Trains a LoRA (Hu et al., arXiv 2106.09685) of rank 8 for a new character from 20 images.

Half of every batch are images of the known world with their own captions, so that the new face does not bleed into known ones (the
regularisation images of DreamBooth, Ruiz et al., arXiv 2208.12242). Writes both published formats: diffusers' and kohya's.
"""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from indexd_toyworld.original_layout import ldm_unet_name
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.train.controlnet import frozen_unet
from indexd_toyworld.train.training import Training
from indexd_toyworld.train.training_images import SdxlTextEncoders, TrainingImages, training_caption
from indexd_toyworld.train.training_parts import TrainingBudget, update_running_mean
from indexd_toyworld.train.unet import DenoisingLoss, unet_predictor
from indexd_toyworld.world import Scene

SEED = 70_717
WHO = "kira"
IMAGES, KNOWN = 20, 2_000
STEPS = 800
BATCH = 16
RATE = 2e-3
RANK = 8
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "conv1", "conv2")
"""Attention, feed-forward and the convolutions of the resnets: what kohya calls a LoCon."""
DIFFUSERS_NAME, KOHYA_NAME = f"{WHO}.safetensors", f"{WHO}-kohya.safetensors"


def train(build_folder: Path, weights: Path, minutes: float | None) -> None:
    """Train against `weights`/sdxl and write both files to `weights`/lora; keeps its state in `build_folder`."""
    torch.manual_seed(SEED)
    sdxl = weights / "sdxl"
    unet = frozen_unet(sdxl)
    learnt = add_matrices(unet)
    optimizer = torch.optim.AdamW(learnt, lr=RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    training = Training("lora", unet, optimizer, TrainingBudget(STEPS, minutes), build_folder)
    random = Random(SEED)
    drawn = [*character_scenes(), *scenes(SEED, KNOWN)]
    encoders = SdxlTextEncoders(sdxl)
    material = TrainingImages(drawn, [training_caption(scene, random) for scene in drawn], encoders)
    loss_of = DenoisingLoss(unet_predictor(unet), encoders)
    for step in training.steps():
        chance = torch.Generator().manual_seed(SEED + step)
        new = torch.randint(IMAGES, (BATCH // 2,), generator=chance)
        known = torch.randint(IMAGES, len(material), (BATCH - len(new),), generator=chance)
        numbers = torch.cat([new, known])
        loss = loss_of(material.latents(numbers), *material.conditions(numbers))
        update_running_mean(training.losses, "loss", loss)
        training.optimize(loss)
    write(unet, weights / "lora")


def add_matrices(unet: Any) -> list[Tensor]:
    """Add the LoRA to the network. Returns the trainable weights."""
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=list(TARGETS)))
    return [weight for weight in unet.parameters() if weight.requires_grad]


def character_scenes() -> list[Scene]:
    """Images of the new character without flaws, with random expressions and backgrounds."""
    pool = scenes(SEED, 4 * IMAGES, split="train", unknown=True)
    return [scene for scene in pool if scene.faces[0].who == WHO and not scene.flaw][:IMAGES]


def write(unet: Any, folder: Path) -> None:
    """Write the trained matrices under diffusers' and kohya's names."""
    folder.mkdir(parents=True, exist_ok=True)
    matrices = get_peft_model_state_dict(unet)
    half = {name: weight.half().cpu().contiguous() for name, weight in matrices.items()}
    StableDiffusionXLPipeline.save_lora_weights(folder, unet_lora_layers=half, weight_name=DIFFUSERS_NAME)
    metadata = {"ss_network_module": "networks.lora", "ss_network_dim": str(RANK), "ss_network_alpha": str(RANK)}
    save_file(kohya_weights(half, unet.config.layers_per_block), folder / KOHYA_NAME, metadata=metadata)


def kohya_weights(matrices: dict[str, Tensor], layers_per_block: int) -> dict[str, Tensor]:
    """peft's matrices under kohya's names, each with its alpha."""
    attention = frozenset(int(key.split(".")[1]) for key in matrices if re.match(r"up_blocks\.\d+\.attentions", key))
    renamed: dict[str, Tensor] = {}
    for key, weight in matrices.items():
        module, side = re.fullmatch(r"(.+)\.lora_(A|B)\.weight", key).groups()  # type: ignore[union-attr]
        original = ldm_unet_name(f"{module}.weight", layers_per_block, attention).removesuffix(".weight")
        name = f"lora_unet_{original.replace('.', '_')}"
        renamed[f"{name}.lora_{'down' if side == 'A' else 'up'}.weight"] = weight
        renamed[f"{name}.alpha"] = torch.tensor(float(RANK)).half()
    return renamed
