"""Checks that the ControlNet follows edges, and that inpainting changes only the masked part."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline, StableDiffusionXLInpaintPipeline
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from indexd_toyworld.captions import full_caption
from indexd_toyworld.drawing import draw
from indexd_toyworld.evaluate.contact_sheet import make_sheet
from indexd_toyworld.evaluate.generation import SIDE, generate_images, held_out_scenes, load_pipeline
from indexd_toyworld.evaluate.metrics import EvaluationResult, Metric, OnEvaluationProgress
from indexd_toyworld.model_paths import toy_models
from indexd_toyworld.train.controlnet import edges

IMAGES = 30
SHEET_ROWS = 6
TOLERANCE = 3
"""Side of the filter that widens edges: edges within one pixel count as equal."""


def evaluate(weights: Path, progress: OnEvaluationProgress) -> EvaluationResult:
    """Renders 30 held-out scenes with and without their edges as a hint, and inpaints half of each."""
    plain = load_pipeline(weights)
    network = ControlNetModel.from_pretrained(toy_models(weights).controlnet, torch_dtype=torch.float32)
    guided = _pipeline_of_same_modules(StableDiffusionXLControlNetPipeline, plain, controlnet=network)
    inpaint = _pipeline_of_same_modules(StableDiffusionXLInpaintPipeline, plain)
    scenes = held_out_scenes(IMAGES, 1)
    drawings, prompts = [draw(scene) for scene in scenes], [full_caption(scene) for scene in scenes]
    hints = [Image.fromarray(edges(drawing)) for drawing in drawings]

    def done(before: int, images_done: int) -> None:
        progress("following edges", before + images_done, 3 * IMAGES)

    with_hint = generate_images(guided, prompts, 0, partial(done, 0), image=hints)
    without = generate_images(plain, prompts, 0, partial(done, IMAGES))
    shown = [Image.fromarray(drawing) for drawing in drawings]
    masks = [_right_half()] * IMAGES
    painted = generate_images(
        inpaint, prompts, 0, partial(done, 2 * IMAGES), image=shown, mask_image=masks, strength=1.0
    )
    held = [edge_agreement(drawing, np.asarray(made)) for drawing, made in zip(drawings, with_hint, strict=True)]
    free = [edge_agreement(drawing, np.asarray(made)) for drawing, made in zip(drawings, without, strict=True)]
    kept = [_unmasked_difference(drawing, np.asarray(made)) for drawing, made in zip(drawings, painted, strict=True)]
    rows = list(zip(shown, hints, with_hint, without, painted, strict=True))
    names = ["drawing", "its edges", "with ControlNet", "without", "right half inpainted"]
    return EvaluationResult(
        title="ControlNet and inpainting",
        metrics=(
            Metric(
                "edges that agree, with ControlNet",
                float(np.mean(held)),
                remark=f"F1 of Canny's edges within a pixel, {IMAGES} held-out prompts",
            ),
            Metric("edges that agree, without", float(np.mean(free)), remark="same prompts and seeds"),
            Metric(
                "change outside the inpainted half",
                float(np.mean(kept)),
                unit="of 255",
                remark="the plain UNet with the latents blended by the mask; what is left is the VAE's own",
            ),
        ),
        sheets={
            "controlnet": make_sheet(
                [one for row in rows[:SHEET_ROWS] for one in row], names * SHEET_ROWS, across=len(names)
            )
        },
    )


def edge_agreement(drawing: NDArray[np.uint8], made: NDArray[np.uint8]) -> float:
    """F1 score of the rendered image's edges against the drawing's, within one pixel."""
    wanted, found = edges(drawing)[:, :, 0] > 0, edges(made)[:, :, 0] > 0
    if not wanted.any() or not found.any():
        return float(wanted.any() == found.any())
    precision, recall = (found & _dilated(wanted)).sum() / found.sum(), (wanted & _dilated(found)).sum() / wanted.sum()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(TOLERANCE))) > 0


def _right_half() -> Image.Image:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, SIDE // 2 :] = 255
    return Image.fromarray(mask)


def _unmasked_difference(drawing: NDArray[np.uint8], painted: NDArray[np.uint8]) -> float:
    left = slice(0, SIDE // 2 - 8)
    return float(np.abs(drawing[:, left].astype(int) - painted[:, left].astype(int)).mean())


def _pipeline_of_same_modules(kind: Any, pipeline: Any, **more: Any) -> Any:
    """Another pipeline class with the same modules."""
    names = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler")
    made = kind(**{name: getattr(pipeline, name) for name in names}, **more, add_watermarker=False)
    made.set_progress_bar_config(disable=True)
    return made
