"""Trains the upscaler: twice the side, in the compact architecture that spandrel recognises by its keys.

Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data" (2021), the compact
network; here it learns from drawings at two sides with a plain absolute loss, no adversary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from rich.progress import Progress, TimeRemainingColumn
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact
from torch import Tensor
from torch.nn.functional import l1_loss

from indexd_toyworld.drawing import draw
from indexd_toyworld.paths import toy_models
from indexd_toyworld.sampling import scenes

SMALL_SIDE = 64
CROP = 32
FEATURES = 24
CONVOLUTIONS = 8
SCENES = 3000
BATCH = 16
STEPS = 4000
STEPS_A_MINUTE = 800
"""On one core; what `minutes` means."""
SAVE_EVERY = 500
RATE = 2e-3
SEED = 31_337


def untrained() -> torch.nn.Module:
    """The network: 24 features, 8 convolutions, 48 000 weights."""
    network: torch.nn.Module = Compact(num_feat=FEATURES, num_conv=CONVOLUTIONS, upscale=2)
    return network


def train(build: Path, weights: Path, minutes: float | None = None) -> None:
    """Train and write `weights`/upscaler/x2.safetensors; the state lies in `build`, a stopped run goes on there."""
    steps = STEPS if minutes is None else round(minutes * STEPS_A_MINUTE)
    torch.manual_seed(SEED)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = untrained().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
    )
    state = build / "state.pt"
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    done = _resume(state, parts)
    small, large = _pairs()
    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn()) as bar:
        task = bar.add_task("upscaler", total=steps, completed=done)
        for step, (given, wanted) in enumerate(_batches(small, large, done, steps), start=done):
            loss = l1_loss(network(given.to(device)), wanted.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update(task, advance=1, description=f"upscaler, loss {loss.item():.4f}")
            if (step + 1) % SAVE_EVERY == 0:
                _save(state, step + 1, parts)
    target = toy_models(weights).upscaler
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.half().cpu().contiguous() for name, weight in network.state_dict().items()}, target)


def _pairs() -> tuple[Tensor, Tensor]:
    """The same scenes drawn small and at twice the side, uint8, channels first."""
    drawn = scenes(SEED, SCENES, split="train")
    small, large = (np.stack([draw(scene, side) for scene in drawn]) for side in (SMALL_SIDE, 2 * SMALL_SIDE))
    return torch.from_numpy(small).permute(0, 3, 1, 2), torch.from_numpy(large).permute(0, 3, 1, 2)


def _batches(small: Tensor, large: Tensor, first: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Crops at random places, mirrored at random; the batch of a step depends on the step alone."""
    for step in range(first, steps):
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
        yield torch.stack(given).float() / 255, torch.stack(wanted).float() / 255


class _HasState(Protocol):
    """What torch's modules, optimizers and schedules have in common."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


def _save(path: Path, done: int, parts: Mapping[str, _HasState]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".new")
    torch.save({"done": done, **{name: part.state_dict() for name, part in parts.items()}}, whole)
    whole.replace(path)


def _resume(path: Path, parts: Mapping[str, _HasState]) -> int:
    """Put back what was saved; how many steps that had done."""
    if not path.exists():
        return 0
    held = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(held[name])
    return int(held["done"])
