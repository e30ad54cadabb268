"""Trains a ControlNet (Zhang et al., arXiv 2302.05543) on the edges of drawings, found by OpenCV's Canny."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor

from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.train.training import Training
from indexd_toyworld.train.training_images import SdxlTextEncoders, TrainingImages, training_caption
from indexd_toyworld.train.training_parts import TrainingBudget, WeightAverage, training_device, update_running_mean
from indexd_toyworld.train.unet import DenoisingLoss, NoisePredictor

SEED = 60_616
IMAGES = 8_000
STEPS = 700
BATCH = 24
RATE = 3e-3
HINT_CHANNELS = (16, 16, 32)
"""Each transition halves the side: a quarter in the end, like the latents."""
LOW, HIGH = 60, 140
"""Canny's thresholds."""


def build_controlnet(unet: Any) -> ControlNetModel:
    """A copy of the UNet's encoder with its weights, and zero-initialised outputs."""
    network: ControlNetModel = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT_CHANNELS)
    return network


def train(build_folder: Path, weights: Path, minutes: float | None) -> None:
    """Train against the frozen `weights`/sdxl and write `weights`/controlnet-canny; keeps its state in `build_folder`."""
    torch.manual_seed(SEED)
    sdxl = weights / "sdxl"
    unet = frozen_unet(sdxl)
    controlnet = build_controlnet(unet).to(training_device())
    optimizer = torch.optim.AdamW(controlnet.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-3)
    average = WeightAverage(controlnet, 0.99)
    training = Training("controlnet", controlnet, optimizer, TrainingBudget(STEPS, minutes), build_folder, average)
    random = Random(SEED)
    drawn = scenes(SEED, IMAGES)
    encoders = SdxlTextEncoders(sdxl)
    material = TrainingImages(drawn, [training_caption(scene, random) for scene in drawn], encoders)
    for step in training.steps():
        numbers = torch.randint(len(material), (BATCH,), generator=torch.Generator().manual_seed(SEED + step))
        hint = hints(list(material.images[numbers].permute(0, 2, 3, 1).numpy())).to(training_device())
        loss = DenoisingLoss(controlnet_predictor(unet, controlnet, hint), encoders)(
            material.latents(numbers), *material.conditions(numbers)
        )
        update_running_mean(training.losses, "loss", loss)
        training.optimize(loss)
    controlnet.load_state_dict(average.weights)
    controlnet.half().cpu().save_pretrained(weights / "controlnet-canny")


def frozen_unet(sdxl: Path) -> Any:
    """The trained UNet in float32."""
    unet = UNet2DConditionModel.from_pretrained(sdxl / "unet", torch_dtype=torch.float32)
    return unet.to(training_device()).requires_grad_(False)


def edges(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """White edges on black (h, w, 3) of an RGB image, the hint of a ControlNet pipeline."""
    found = cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), LOW, HIGH)
    return np.repeat(np.asarray(found, np.uint8)[:, :, None], 3, axis=2)


def hints(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Edges of each image, 0 .. 1 (n, 3, h, w)."""
    return torch.from_numpy(np.stack([edges(image) for image in images])).permute(0, 3, 1, 2).float() / 255


def controlnet_predictor(unet: Any, controlnet: Any, hint: Tensor) -> NoisePredictor:
    """The UNet's prediction with the ControlNet's residuals."""

    def predict(noisy: Tensor, times: Tensor, hidden: Tensor, added: dict[str, Tensor]) -> Tensor:
        down, middle = controlnet(
            noisy, times, hidden, controlnet_cond=hint, added_cond_kwargs=added, return_dict=False
        )
        answer: Tensor = unet(
            noisy,
            times,
            hidden,
            added_cond_kwargs=added,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        return answer

    return predict
