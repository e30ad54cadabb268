"""Trains the AutoencoderKL: 64x64 pixels to 16x16x4 latents. Factor 4, because with SDXL's 8 the mouths are lost.

Loss: absolute difference of the pixels and of their slopes, and the usual divergence from the unit Gaussian (Kingma and
Welling, "Auto-Encoding Variational Bayes", 2013). The decoder also sees noise on the latents: what it is given later
comes from a UNet and is never exact.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from indexd_toyworld.drawing import draw
from indexd_toyworld.sampling import scenes, strangers
from indexd_toyworld.train.common import Average, Course, Keeper, cosine, device, mean_of, rounds, set_rate

SEED = 40_414
PICTURES, STRANGERS = 16_000, 4_000
"""Strangers too: a face that is taught later must pass through the same decoder."""
STEPS = 4_000
BATCH = 8
RATE = 2e-3
DIVERGENCE = 5e-4
SLOPES = 1.0
NOISE = 0.15
"""Spread of the extra noise, in parts of the latents' own spread."""


def build() -> AutoencoderKL:
    """The network without training; every group of a GroupNorm has four channels or more."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        force_upcast=False,
    )


def train(build_folder: Path, weights: Path, minutes: float | None) -> None:
    """Train and write `weights`/sdxl/vae; the state lies in `build_folder`."""
    torch.manual_seed(SEED)
    vae = build().to(device())
    optimizer = torch.optim.AdamW(vae.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    average, course = Average(vae, 0.998), Course(STEPS, minutes)
    keeper = Keeper(build_folder / "state.pt", {"vae": vae, "optimizer": optimizer, "average": average, "course": course})
    keeper.resume()
    pictures = training_pictures()
    told: dict[str, float] = {}
    for step in rounds(course, "vae", told):
        chance = torch.Generator().manual_seed(SEED + step)
        batch = as_input(pictures[torch.randint(len(pictures), (BATCH,), generator=chance)]).to(device())
        set_rate(optimizer, RATE * cosine(course.fraction))
        loss = _loss(vae, batch, told)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        average.update()
        keeper.save_if_due()
    keeper.save()
    vae.load_state_dict(average.weights)
    _scale(vae, pictures)
    vae.half().cpu().save_pretrained(weights / "sdxl" / "vae")


def training_pictures() -> Tensor:
    """Pictures of the training split and of strangers, uint8 (n, 3, 64, 64)."""
    drawn = [draw(scene) for scene in [*scenes(SEED, PICTURES), *strangers(SEED, STRANGERS)]]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).contiguous()


def as_input(pictures: Tensor) -> Tensor:
    """uint8 pixels as the VAE takes them: -1 .. 1."""
    return pictures.float() / 127.5 - 1


def psnr(vae: Any, pictures: Tensor) -> float:
    """Peak signal to noise of encoding and decoding, in dB, the mean over pictures (uint8)."""
    values = []
    with torch.no_grad():
        for part in pictures.split(64):
            given = as_input(part).to(vae.device, vae.dtype)
            back = vae.decode(vae.encode(given).latent_dist.mean).sample.clamp(-1, 1)
            squares = ((back - given).float() / 2).square().mean(dim=(1, 2, 3))
            values.append(-10 * squares.log10())
    return float(torch.cat(values).mean())


def _loss(vae: Any, batch: Tensor, told: dict[str, float]) -> Tensor:
    latents = vae.encode(batch).latent_dist
    sample = latents.sample()
    spread = sample.detach().std()
    given = sample + NOISE * spread * torch.rand(len(batch), 1, 1, 1, device=batch.device) * torch.randn_like(sample)
    back = vae.decode(given).sample
    pixels = (back - batch).abs().mean()
    across = (back.diff(dim=-1) - batch.diff(dim=-1)).abs().mean()
    down = (back.diff(dim=-2) - batch.diff(dim=-2)).abs().mean()
    divergence = latents.kl().mean() / latents.mean[0].numel()
    mean_of(told, "pixels", pixels)
    mean_of(told, "divergence", divergence)
    mean_of(told, "dB", -10 * ((back - batch) / 2).square().mean().log10())
    return pixels + SLOPES * 0.5 * (across + down) + DIVERGENCE * divergence


@torch.no_grad()
def _scale(vae: Any, pictures: Tensor) -> None:
    """Write down the factor that gives the latents unit spread, as the diffusion expects them."""
    latents = vae.encode(as_input(pictures[:512]).to(vae.device)).latent_dist.mean
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
