"""Stage `detail`: what a detector finds is cut out with its surroundings, made anew at its own resolution and blended back.

The way of ADetailer and of the FaceDetailer of ComfyUI's Impact Pack. Nothing outside the found box and its soft rim changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from indexd.errors import ModelOff, RenderFailed
from indexd.generate import decode
from indexd.generate.denoise import Start, denoise
from indexd.generate.guides import influences_for, share_of
from indexd.generate.latents import encoded, generator, noise
from indexd.generate.pipeline import ROLE, generator_spec
from indexd.generate.stages.work import Work, known_file, pass_of, texts_of
from indexd.generate.task import Task
from indexd.generate.text import Conditioning
from indexd.images.crop import in_pixels
from indexd.models.detector import Seen, best_of, lent_detector
from indexd.models.device import resolve_device
from indexd.worker.calls import DetectorSpec
from indexd_schemas.recipe_stages import DetailRecipe

STAGE = "detail"
STEP_PX = 8
SMALLEST_PX = 4
"""What is smaller has nothing to be made from."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is made anew: the cut-out (left, top, right, bottom) and in it the soft mask, 255 = anew, 0 = kept."""

    box: tuple[int, int, int, int]
    mask: Image.Image


def detail(work: Work, picture: Image.Image) -> Image.Image:
    """The picture after every detector in its order. What was found and what was not becomes a note."""
    task, notes, known = work.model(STAGE), [], []
    for number, wanted in enumerate(work.recipe.detail):
        wanted, found = _found(work, wanted, picture)
        known.append(wanted)
        name = f"{STAGE}: {wanted.detector.name}"
        if not found:
            notes.append(f"{name} found nothing; skipped")
            continue
        notes.append(f"{name} found " + ", ".join(f"{one.kind} ({one.confidence:.2f})" for one in found))
        mine = pass_of(task, wanted)
        texts = texts_of(mine, wanted)
        for index, one in enumerate(found):
            # Each has a noise of its own, and so has each detector.
            seed = (task.recipe.seed + index + 1000 * number) % 2**64
            picture = _anew(mine, picture, place_of(picture, one, wanted), texts, wanted, seed)
            work.session.between_steps()
    work.notes += notes
    work.know(detail=tuple(known))
    return picture


def _found(work: Work, wanted: DetailRecipe, picture: Image.Image) -> tuple[DetailRecipe, list[Seen]]:
    """What the detector is sure enough of, the surest first; the recipe with the hash of its file."""
    name = wanted.detector.name
    path, detector = known_file("detector", wanted.detector, work.call.detectors.get(name), work.session)
    spec = DetectorSpec(str(path), {kind: kind for kind in wanted.kinds}, wanted.confidence, SMALLEST_PX)
    generator_of = generator_spec(work.session)
    device = resolve_device(generator_of.device, ROLE)
    try:
        with lent_detector(spec, device, generator_of.keep_alive_seconds, work.session) as eyes:
            seen = eyes.detect([picture])[0]
    except ModelOff as error:
        # Asked for by this one job: the queue does not wait for another file.
        raise RenderFailed(f"{STAGE}: the detector {name} cannot be used: {error.reason}") from error
    return wanted.model_copy(update={"detector": detector}), best_of(seen)[: wanted.max]


def place_of(picture: Image.Image, seen: Seen, wanted: DetailRecipe) -> Place:
    """The cut-out around what was seen, and its mask: 1 inside the box, falling to 0 over the feather, 0 beyond."""
    left, top, width, height = in_pixels(picture, seen.box)
    longer = max(width, height)
    rim = wanted.feather * longer
    room = max(wanted.padding * longer, rim)
    box = (
        max(0, int(np.floor(left - room))),
        max(0, int(np.floor(top - room))),
        min(picture.width, int(np.ceil(left + width + room))),
        min(picture.height, int(np.ceil(top + height + room))),
    )
    across = _ramp(box[0], box[2], left, left + width, rim)
    down = _ramp(box[1], box[3], top, top + height, rim)
    mask = np.rint(255 * np.outer(down, across)).astype(np.uint8)
    return Place(box, Image.fromarray(mask))


def _ramp(first: int, last: int, start: float, end: float, rim: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """For the pixels first..last: 1 from `start` to `end`, falling evenly to 0 within `rim` on both sides."""
    middles = np.arange(first, last) + 0.5
    outside = np.maximum(np.maximum(start - middles, middles - end), 0.0)
    ramp: np.ndarray[tuple[int], np.dtype[np.float64]] = (
        np.clip(1 - outside / rim, 0, 1) if rim > 0 else (outside == 0).astype(np.float64)
    )
    return ramp


def _anew(
    task: Task, picture: Image.Image, place: Place, texts: Conditioning, wanted: DetailRecipe, seed: int
) -> Image.Image:
    cut_out = picture.crop(place.box)
    size = _working_size(cut_out.size, wanted.size)
    larger = cut_out.resize(size, Image.Resampling.LANCZOS)
    chance = generator(seed)
    source = encoded(task.model, larger, chance)
    unit = noise(task.model, *size, chance)
    mask = latent_mask(place.mask, size, task.model.text_to_image.vae_scale_factor)
    start = Start(unit, chance, source, wanted.denoise, mask.to(source))
    influences = influences_for(task, size, share_of(place.box, picture.size))
    latents = denoise(task, texts, start, influences=influences, stage=STAGE)
    made = decode.pixels(task.model, latents, part=True)
    changed = picture.copy()
    changed.paste(made.resize(cut_out.size, Image.Resampling.LANCZOS), place.box[:2], place.mask)
    return changed


def latent_mask(mask: Image.Image, size: tuple[int, int], scale: int) -> torch.Tensor:
    """(1, 1, h, w) for latents of a picture of `size`, `scale` pixels each: 1 wherever any pixel of the mask is touched."""
    touched = mask.point(lambda level: 255 * (level > 0)).resize(size, Image.Resampling.NEAREST)
    pixels = torch.from_numpy(np.asarray(touched).copy()).float()[None, None]
    return (torch.nn.functional.max_pool2d(pixels, scale) > 0).float()


def _working_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The cut-out's size brought to a longer side of `side`, or left as large as it is; multiples of 8."""
    factor = max(1.0, side / max(size))
    across, down = (max(8 * STEP_PX, round(length * factor / STEP_PX) * STEP_PX) for length in size)
    return across, down
