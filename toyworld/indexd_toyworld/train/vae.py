"""Trains the AutoencoderKL from 64x64 pixels to 16x16x4 latents. SDXL's factor 8 would lose the mouths, so the factor is 4.

The latents have a simple target: the mean colour of every 4x4 pixels (three channels), and the brightness of its upper half minus
that of its lower (the fourth). So latents are smooth, keep colours, and the UNet can train before the VAE. Only the decoder must
learn edges, eyes and mouths. It trains with noise on its latents, because the UNet's output is never exact.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import avg_pool2d

from indexd_toyworld.drawing import draw
from indexd_toyworld.scene_sampling import scenes, unnamed_portraits
from indexd_toyworld.train.training import Training
from indexd_toyworld.train.training_parts import TrainingBudget, WeightAverage, training_device, update_running_mean

SEED = 40_414
IMAGES, STRANGERS = 16_000, 4_000
"""Strangers too: a face that is taught later must pass through the same decoder."""
STEPS = 3_500
BATCH = 8
FACTOR = 4
LOG_VARIANCE = -8.0
"""Log variance of the latents, nearly zero variance."""
RATE = 2e-3
SQUARES, SLOPES, LATENTS = 1.0, 0.5, 1.0
"""Weights of the parts of the loss beside the absolute difference of the pixels."""
NOISE = 0.06
"""Maximum spread of the noise on the decoder's latents."""
TILT = 2.8
"""Scale of the fourth channel, so that it varies as widely as the colours."""
SCALING = 2.0
"""Scales the latents to unit spread, as diffusion expects."""


def build() -> AutoencoderKL:
    """The untrained network. GroupNorm groups have at least eight channels, because smaller ones lose colours.

    It starts with little noise on its latents; the library's initial value would drown them.
    """
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 48),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=64,
        force_upcast=False,
        scaling_factor=SCALING,
    )
    with torch.no_grad():
        vae.quant_conv.bias[vae.config.latent_channels :] = LOG_VARIANCE
    return vae


def train(build_folder: Path, weights: Path, minutes: float | None) -> None:
    """Train and write `weights`/sdxl/vae; keeps its state in `build_folder`."""
    torch.manual_seed(SEED)
    vae = build().to(training_device())
    optimizer = torch.optim.AdamW(vae.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    average = WeightAverage(vae, 0.998)
    training = Training("vae", vae, optimizer, TrainingBudget(STEPS, minutes), build_folder, average)
    images = training_images()
    for step in training.steps():
        chance = torch.Generator().manual_seed(SEED + step)
        batch = as_input(images[torch.randint(len(images), (BATCH,), generator=chance)]).to(training_device())
        training.optimize(_loss(vae, batch, training.losses))
    vae.load_state_dict(average.weights)
    vae.half().cpu().save_pretrained(weights / "sdxl" / "vae")


def training_images() -> Tensor:
    """Images of the training split and of strangers, uint8 (n, 3, 64, 64)."""
    drawn = [draw(scene) for scene in [*scenes(SEED, IMAGES), *unnamed_portraits(SEED, STRANGERS)]]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).contiguous()


def as_input(images: Tensor) -> Tensor:
    """uint8 pixels in the VAE's range -1 .. 1."""
    return images.float() / 127.5 - 1


def latents_of(pixels: Tensor) -> Tensor:
    """The unscaled target latents (n, 4, h / 4, w / 4) of pixels -1 .. 1 (n, 3, h, w)."""
    colours = avg_pool2d(pixels, FACTOR)
    halves = avg_pool2d(pixels.mean(dim=1, keepdim=True), (FACTOR // 2, FACTOR))
    return torch.cat([colours, TILT * (halves[:, :, ::2] - halves[:, :, 1::2])], dim=1)


def _loss(vae: Any, batch: Tensor, told: dict[str, float]) -> Tensor:
    wanted = latents_of(batch)
    latents = vae.encode(batch).latent_dist
    away = (latents.mean - wanted).abs().mean() + (latents.logvar - LOG_VARIANCE).square().mean()
    spread = NOISE * torch.rand(len(batch), 1, 1, 1, device=batch.device)
    back = vae.decode(wanted + spread * torch.randn_like(wanted)).sample
    pixels, squares = (back - batch).abs().mean(), (back - batch).square().mean()
    across = (back.diff(dim=-1) - batch.diff(dim=-1)).abs().mean()
    down = (back.diff(dim=-2) - batch.diff(dim=-2)).abs().mean()
    update_running_mean(told, "latents", away)
    update_running_mean(told, "dB", -10 * (squares / 4).log10())
    return pixels + SQUARES * squares + SLOPES * (across + down) / 2 + LATENTS * away
