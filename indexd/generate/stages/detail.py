"""What a detector finds is cut out with its surroundings, rendered again and blended back, for the stage `detail`.

The way of ADetailer and of the FaceDetailer of ComfyUI's Impact Pack. Nothing outside the found box and its soft rim changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from indexd.errors import ModelUnavailable, RenderFailed
from indexd.generate.context import (
    DenoiseTask,
    RenderContext,
    encode_pass_prompts,
    with_pass_settings,
)
from indexd.generate.diffusion import vae_decode
from indexd.generate.diffusion.conditioning import TextConditioning
from indexd.generate.diffusion.denoise import DenoiseStart, denoise
from indexd.generate.diffusion.latents import draw_noise
from indexd.generate.model_lease import generator_spec
from indexd.generate.pass_hooks import hooks_for_pass, relative_box
from indexd.images.face_crop import box_to_pixels
from indexd.models.detector import Detection, lease_detector, suppress_overlaps
from indexd.models.device import resolve_device
from indexd.worker.calls import GENERATOR, DetectorSpec
from indexd_schemas.jobs.stages import DetailRecipe
from indexd_schemas.limits import SIZE_STEP_PX

STAGE = "detail"
MIN_SIZE_PX = 4
"""What is smaller has nothing to be made from."""


@dataclass(frozen=True, slots=True)
class DetailRegion:
    """Where something is rendered again: the cut-out (left, top, right, bottom) and in it the soft mask, 255 = anew, 0 = kept."""

    box: tuple[int, int, int, int]
    mask: Image.Image


def redraw_detections(
    recipe: DetailRecipe, context: RenderContext, image: Image.Image, number: int
) -> tuple[Image.Image, DetailRecipe]:
    """The image with everything rendered again that one detector finds; what it found becomes a note.

    `number` counts the detectors of the recipe from 0: each draws its own noise.
    """
    task = context.require_task(STAGE)
    recipe, found = _detect(context, recipe, image)
    name = f"{STAGE}: {recipe.detector.name}"
    if not found:
        context.notes.append(f"{name} found nothing; skipped")
        return image, recipe
    context.notes.append(f"{name} found " + ", ".join(f"{one.kind} ({one.confidence:.2f})" for one in found))
    task = with_pass_settings(task, recipe)
    conditioning = encode_pass_prompts(task, recipe)
    for index, detection in enumerate(found):
        seed = (task.recipe.seed + index + 1000 * number) % 2**64
        image = _redraw(task, image, detail_region(image, detection, recipe), conditioning, recipe, seed)
        context.session.poll()
    return image, recipe


def _detect(context: RenderContext, recipe: DetailRecipe, image: Image.Image) -> tuple[DetailRecipe, list[Detection]]:
    """The detections of sufficient confidence, the surest first; the recipe with the hash of the detector's file."""
    path, detector = context.verified_model_file("detector", recipe.detector)
    spec = DetectorSpec(str(path), {kind: kind for kind in recipe.kinds}, recipe.confidence, MIN_SIZE_PX)
    generator = generator_spec(context.session)
    device = resolve_device(generator.device, GENERATOR)
    try:
        with lease_detector(spec, device, generator.keep_alive_seconds, context.session) as model:
            detections = model.detect([image])[0]
    except ModelUnavailable as error:
        # Only this job names the detector: the queue does not wait for another file.
        raise RenderFailed(f"{STAGE}: the detector {detector.name} cannot be used: {error.reason}") from error
    return recipe.model_copy(update={"detector": detector}), suppress_overlaps(detections)[: recipe.max]


def detail_region(image: Image.Image, seen: Detection, detail_recipe: DetailRecipe) -> DetailRegion:
    """The cut-out around what was seen, and its mask: 1 inside the box, falling to 0 over the feather, 0 beyond."""
    left, top, width, height = box_to_pixels(image, seen.box)
    longer = max(width, height)
    rim = detail_recipe.feather * longer
    room = max(detail_recipe.padding * longer, rim)
    box = (
        max(0, int(np.floor(left - room))),
        max(0, int(np.floor(top - room))),
        min(image.width, int(np.ceil(left + width + room))),
        min(image.height, int(np.ceil(top + height + room))),
    )
    across = _ramp(box[0], box[2], left, left + width, rim)
    down = _ramp(box[1], box[3], top, top + height, rim)
    mask = np.rint(255 * np.outer(down, across)).astype(np.uint8)
    return DetailRegion(box, Image.fromarray(mask))


def _ramp(first: int, last: int, start: float, end: float, rim: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """For the pixels first..last: 1 from `start` to `end`, falling evenly to 0 within `rim` on both sides."""
    middles = np.arange(first, last) + 0.5
    outside = np.maximum(np.maximum(start - middles, middles - end), 0.0)
    ramp: np.ndarray[tuple[int], np.dtype[np.float64]] = (
        np.clip(1 - outside / rim, 0, 1) if rim > 0 else (outside == 0).astype(np.float64)
    )
    return ramp


def _redraw(
    task: DenoiseTask,
    image: Image.Image,
    region: DetailRegion,
    conditioning: TextConditioning,
    detail_recipe: DetailRecipe,
    seed: int,
) -> Image.Image:
    cut_out = image.crop(region.box)
    size = _working_size(cut_out.size, detail_recipe.size)
    larger = cut_out.resize(size, Image.Resampling.LANCZOS)
    numbers = task.noise_source(seed)
    source = task.model.encode_image(larger, numbers.encoding_rng)
    unit = draw_noise(task.model, *size, numbers)
    mask = latent_mask(region.mask, size, task.model.pixels_per_latent)
    start = DenoiseStart(unit, numbers, source, detail_recipe.denoise, mask.to(source))
    influences = hooks_for_pass(task, size, relative_box(region.box, image.size))
    latents = denoise(task, conditioning, start, hooks=influences, stage=STAGE)
    made = vae_decode.decode_latents(task.model, latents, is_part=True)
    changed = image.copy()
    changed.paste(made.resize(cut_out.size, Image.Resampling.LANCZOS), region.box[:2], region.mask)
    return changed


def latent_mask(mask: Image.Image, size: tuple[int, int], scale: int) -> torch.Tensor:
    """(1, 1, h, w) for latents of an image of `size`, `scale` pixels each: 1 wherever any pixel of the mask is touched."""
    touched = mask.point(lambda level: 255 * (level > 0)).resize(size, Image.Resampling.NEAREST)
    pixels = torch.from_numpy(np.asarray(touched).copy()).float()[None, None]
    return (torch.nn.functional.max_pool2d(pixels, scale) > 0).float()


def _working_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The cut-out's size brought to a longer side of `side`, or left as large as it is; multiples of 8."""
    factor = max(1.0, side / max(size))
    across, down = (max(8 * SIZE_STEP_PX, round(length * factor / SIZE_STEP_PX) * SIZE_STEP_PX) for length in size)
    return across, down
