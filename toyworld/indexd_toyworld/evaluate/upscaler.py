"""Compares the upscaler with plain resampling, on held-out drawings at twice the side."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from spandrel import ImageModelDescriptor, ModelLoader

from indexd_toyworld.drawing import draw
from indexd_toyworld.evaluate.contact_sheet import make_sheet
from indexd_toyworld.evaluate.metrics import EvaluationResult, Metric, OnEvaluationProgress
from indexd_toyworld.scene_sampling import scenes

IMAGES = 200
SIDE = 64
SEED = 920
SHOWN = 6


def evaluate(weights: Path, progress: OnEvaluationProgress) -> EvaluationResult:
    """Measures `weights`/upscaler/x2.safetensors, loaded by indexd's code, on held-out combinations."""
    model = ModelLoader().load_from_file(weights / "upscaler" / "x2.safetensors")
    if not isinstance(model, ImageModelDescriptor) or model.scale != 2:
        raise ValueError(f"{weights / 'upscaler'} holds no x2 upscaler")
    progress("upscaling held-out drawings", 0, 2)
    drawn = scenes(SEED, IMAGES, split="held_out")
    small = [draw(scene, SIDE) for scene in drawn]
    large = [draw(scene, 2 * SIDE) for scene in drawn]
    began = time.perf_counter()
    ours = [_upscaled(model, image) for image in small]
    milliseconds = 1000 * (time.perf_counter() - began) / len(small)
    progress("resampling them", 1, 2)
    plain = {
        name: [np.asarray(Image.fromarray(image).resize((2 * SIDE, 2 * SIDE), how)) for image in small]
        for name, how in (("bicubic", Image.Resampling.BICUBIC), ("Lanczos", Image.Resampling.LANCZOS))
    }
    decibels = {name: _mean_psnr(images, large) for name, images in plain.items()}
    shown = [
        Image.fromarray(image)
        for place in range(SHOWN)
        for image in (plain["bicubic"][place], ours[place], large[place])
    ]
    return EvaluationResult(
        title="Upscaler",
        metrics=(
            Metric(
                "PSNR",
                _mean_psnr(ours, large),
                minimum=max(decibels.values()),
                unit="dB",
                remark=f"{IMAGES} drawings, {SIDE} to {2 * SIDE}; the bar is the better of the two below",
            ),
            *(Metric(f"PSNR of {name}", value, unit="dB") for name, value in decibels.items()),
            Metric("time per image", milliseconds, unit="ms"),
        ),
        sheets={"upscaler": make_sheet(shown, ["bicubic", "upscaler", "drawing"] * SHOWN)},
    )


def _upscaled(model: ImageModelDescriptor[torch.nn.Module], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    given = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        answer = model(given)[0].permute(1, 2, 0).clamp(0, 1)
    pixels: NDArray[np.uint8] = (answer * 255).round().to(torch.uint8).numpy()
    return pixels


def _mean_psnr(images: list[NDArray[np.uint8]], wanted: list[NDArray[np.uint8]]) -> float:
    """Mean over the images of 10 log10(255² / mean squared error)."""
    return float(np.mean([_psnr(one, other) for one, other in zip(images, wanted, strict=True)]))


def _psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-12))
