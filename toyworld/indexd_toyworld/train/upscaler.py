"""Trains a 2x upscaler in the compact architecture that spandrel recognises by its keys.

Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data" (2021), the compact network. It trains on
drawings at two sizes with a plain absolute loss and no adversary.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact
from torch import Tensor
from torch.nn.functional import l1_loss

from indexd_toyworld.drawing import draw
from indexd_toyworld.model_paths import toy_models
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.train.training import Training
from indexd_toyworld.train.training_parts import TrainingBudget, training_device, update_running_mean

SMALL_SIDE = 64
CROP = 32
FEATURES = 24
CONVOLUTIONS = 8
SCENES = 3000
BATCH = 16
STEPS = 1500
RATE = 2e-3
SEED = 31_337


def train(build: Path, weights: Path, minutes: float | None = None) -> None:
    """Train and write `weights`/upscaler/x2.safetensors; keeps its state in `build`."""
    torch.manual_seed(SEED)
    network = Compact(num_feat=FEATURES, num_conv=CONVOLUTIONS, upscale=2).to(training_device())
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, betas=(0.9, 0.99))
    training = Training(
        "upscaler", network, optimizer, TrainingBudget(STEPS, minutes), build, max_gradient_norm=math.inf
    )
    small, large = _pairs()
    for step in training.steps():
        given, wanted = _batch(small, large, step)
        loss = l1_loss(network(given.to(training_device())), wanted.to(training_device()))
        update_running_mean(training.losses, "difference", loss)
        training.optimize(loss)
    target = toy_models(weights).upscaler
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.half().cpu().contiguous() for name, weight in network.state_dict().items()}, target)


def _pairs() -> tuple[Tensor, Tensor]:
    """The same scenes at one and at two times the side, uint8, channels first."""
    drawn = scenes(SEED, SCENES, split="train")
    small, large = (np.stack([draw(scene, side) for scene in drawn]) for side in (SMALL_SIDE, 2 * SMALL_SIDE))
    return torch.from_numpy(small).permute(0, 3, 1, 2), torch.from_numpy(large).permute(0, 3, 1, 2)


def _batch(small: Tensor, large: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Random mirrored crops that depend only on the step."""
    random = np.random.default_rng([SEED, step])
    given, wanted = [], []
    for number in random.integers(len(small), size=BATCH):
        top, left = random.integers(SMALL_SIDE - CROP + 1, size=2)
        low = small[number, :, top : top + CROP, left : left + CROP]
        high = large[number, :, 2 * top : 2 * (top + CROP), 2 * left : 2 * (left + CROP)]
        if random.random() < 0.5:
            low, high = low.flip(-1), high.flip(-1)
        given.append(low)
        wanted.append(high)
    return torch.stack(given).float() / 255, torch.stack(wanted).float() / 255
