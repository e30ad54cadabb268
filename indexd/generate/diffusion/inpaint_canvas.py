"""Inpainting: the canvas that is denoised, its mask, and how the result is pasted back.

As in A1111 (modules/processing.py, StableDiffusionProcessingImg2Img): the mask is blurred in pixels, the sampler keeps the
latents outside it, and at the end the result is pasted over the source through the blurred mask, so that every pixel where that
is 0 is the source's own. `only_masked` works on the part around the mask alone, scaled to the recipe's size and back. `fill`
follows modules/masking.py (blurred colours from around the mask).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from indexd.errors import RenderFailed
from indexd.generate.context import DenoiseTask, file_path
from indexd.generate.diffusion.latents import draw_noise, load_source, load_verified_image
from indexd.generate.sampling.noise_source import NoiseSource
from indexd.models.serve_faces import find_faces
from indexd.worker.calls import FindFaces, Render
from indexd.worker.session import RenderSession
from indexd_schemas.limits import SIZE_STEP_PX
from indexd_schemas.recipe import MaskRef, Recipe

_FILL_RADII = (256, 64, 16, 4, 1)

CropBox = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class InpaintCanvas:
    """The source, and the part of it that is denoised.

    `source_mask` is the blurred mask at the source's size; `crop_box` (left, top, right, bottom) is the part that `image` and
    `mask` show, whose sides are multiples of 8. `is_padded`: they were not scaled but extended at their right and lower edge.
    """

    source: Image.Image
    source_mask: Image.Image
    crop_box: CropBox
    image: Image.Image
    mask: Image.Image
    is_padded: bool

    def latent_mask(self, task: DenoiseTask) -> torch.Tensor:
        """(1, 1, h / 8, w / 8): 1 where the mask covers at least half of a latent's pixels, or any of them where no latent has half."""
        scale = task.model.pixels_per_latent
        pixels = np.asarray(self.mask, np.float32) / 255
        height, width = (side // scale for side in pixels.shape)
        share = pixels.reshape(height, scale, width, scale).mean(axis=(1, 3))
        chosen = share >= 0.5 if (share >= 0.5).any() else share > 0
        return torch.from_numpy(chosen.astype(np.float32))[None, None].to(task.model.device)

    def paste_into_source(self, rendered: Image.Image) -> Image.Image:
        """The source with the rendered part pasted in: outside the blurred mask exactly the source."""
        left, top, right, bottom = self.crop_box
        size = (right - left, bottom - top)
        fitted = rendered.crop((0, 0, *size)) if self.is_padded else rendered.resize(size, Image.Resampling.LANCZOS)
        whole = self.source.copy()
        whole.paste(fitted, (left, top), self.source_mask.crop(self.crop_box))
        return whole


def build_canvas(call: Render, recipe: Recipe, session: RenderSession) -> tuple[InpaintCanvas, Recipe]:
    """The canvas of an inpaint recipe, and the recipe with the box of its region. Raises RenderFailed."""
    mask_ref, source = recipe.mask, recipe.input
    assert mask_ref is not None  # the recipe's validator requires both for this kind
    assert source is not None
    path = file_path(call, "image", source.hash)
    whole = load_source(path, source)
    if mask_ref.hash is None and mask_ref.box is None:
        mask_ref = mask_ref.model_copy(
            update={"box": _detect_region(mask_ref, source.name, os.fsencode(path), session)}
        )
    mask = _load_mask(call, mask_ref, whole.size)
    if not mask_ref.only_masked and whole.size != (recipe.width, recipe.height):
        # Both in the same way, so that the mask stays where it was; bilinear, because Lanczos rings beyond its edge.
        whole = ImageOps.fit(whole, (recipe.width, recipe.height), Image.Resampling.LANCZOS)
        mask = ImageOps.fit(mask, (recipe.width, recipe.height), Image.Resampling.BILINEAR)
    bounds = mask.getbbox()
    if bounds is None:
        raise RenderFailed("the mask is empty: it selects no pixels; white marks the area to render")
    part: CropBox = (0, 0, *whole.size)
    work = (_round_up(whole.width), _round_up(whole.height))
    if mask_ref.only_masked:
        work = (recipe.width, recipe.height)
        part = _crop_around(bounds, mask_ref.only_masked_padding, whole.size, work)
    image, small = whole.crop(part), mask.crop(part)
    if mask_ref.only_masked:
        image = image.resize(work, Image.Resampling.LANCZOS)
        small = small.resize(work, Image.Resampling.BILINEAR)
    elif work != whole.size:
        image, small = _pad_edges(image, work), _pad_edges(small, work)
    if mask_ref.content == "fill":
        image = fill_masked(image, small)
    canvas = InpaintCanvas(whole, mask, part, image, small, is_padded=not mask_ref.only_masked)
    return canvas, recipe.model_copy(update={"mask": mask_ref})


def prepare_masked_latents(
    task: DenoiseTask,
    latents: torch.Tensor,
    mask: torch.Tensor,
    numbers: NoiseSource,
    draw_unit_noise: Callable[[], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit noise, and the latents to start from: with `masked_content: noise`, noise replaces the latents under the mask."""
    drawn = draw_unit_noise()
    if task.recipe.mask is None or task.recipe.mask.content != "noise":
        return drawn, latents
    scale = task.model.pixels_per_latent
    other = draw_noise(task.model, latents.shape[-1] * scale, latents.shape[-2] * scale, numbers)
    return drawn, torch.where(mask.to(latents) > 0, other.to(latents), latents)


def fill_masked(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The image with the colours around the mask blurred into it, more finely towards its edge."""
    known = np.float32(1) - np.asarray(mask, np.float32)[..., None] / np.float32(255)
    colours = np.asarray(image, np.float32)
    result = _blur_known(colours, known, max(image.size))[0]
    for radius in _FILL_RADII:
        spread, weight = _blur_known(colours, known, radius)
        result = np.where(weight > 0.02, spread, result)
    laid = known * colours + (1 - known) * result
    return Image.fromarray(np.clip(np.rint(laid), 0, 255).astype(np.uint8))


def _blur_known(
    colours: NDArray[np.float32], known: NDArray[np.float32], radius: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean colour of what is known within about `radius` pixels, and how much of it there is (0 to 1)."""
    blur = ImageFilter.GaussianBlur(radius)

    def of(values: NDArray[np.float32]) -> NDArray[np.float32]:
        # Blurred as 8 bits, which is what Pillow blurs.
        image = Image.fromarray(np.rint(np.clip(values, 0, 255)).astype(np.uint8))
        return np.asarray(image.filter(blur), np.float32)

    weight = of(known[..., 0] * 255)[..., None] / 255
    spread = np.stack([of(colours[..., band] * known[..., 0]) for band in range(3)], axis=-1)
    return (spread / np.maximum(weight, 1 / 255)).astype(np.float32), weight.astype(np.float32)


def _load_mask(call: Render, mask_ref: MaskRef, size: tuple[int, int]) -> Image.Image:
    """The mask at the size of the source: 255 = made anew, blurred."""
    if mask_ref.hash is not None:
        path = file_path(call, "image", mask_ref.hash)
        drawn = load_verified_image(path, "mask", mask_ref.name or path.name, mask_ref.hash).convert("L")
        drawn = drawn if drawn.size == size else drawn.resize(size, Image.Resampling.BILINEAR)
    else:
        assert mask_ref.box is not None  # `build_canvas` detects it where the recipe has none
        drawn = _box_mask(mask_ref.box, mask_ref.padding, size)
    if mask_ref.invert:
        drawn = ImageOps.invert(drawn)
    return drawn.filter(ImageFilter.GaussianBlur(mask_ref.blur)) if mask_ref.blur else drawn


def _box_mask(box: tuple[float, float, float, float], padding: float, size: tuple[int, int]) -> Image.Image:
    left, top, width, height = box[0] * size[0], box[1] * size[1], box[2] * size[0], box[3] * size[1]
    room = padding * max(width, height)
    corners = (round(left - room), round(top - room), round(left + width + room) - 1, round(top + height + room) - 1)
    mask = Image.new("L", size, 0)
    if corners[2] >= corners[0] and corners[3] >= corners[1]:
        ImageDraw.Draw(mask).rectangle(corners, fill=255)
    return mask


def _detect_region(
    mask_ref: MaskRef, name: str, path: bytes, session: RenderSession
) -> tuple[float, float, float, float]:
    """The box of a region that the detectors find now."""
    found = find_faces(FindFaces((path,)), session)
    if found.problems:
        raise RenderFailed(f"the source image {name} cannot be read: {found.problems[0]}")
    kind = (mask_ref.region or "").casefold()
    of_kind = [one for one in found.regions[0] if one.kind.casefold() == kind]
    of_kind.sort(key=lambda one: -one.width * one.height)
    if len(of_kind) < mask_ref.index:
        raise RenderFailed(
            f"the detectors find no {mask_ref.region} number {mask_ref.index} in {name}: they find"
            f" {len(found.regions[0])} regions, {len(of_kind)} of this kind"
        )
    return of_kind[mask_ref.index - 1].box


def _crop_around(bounds: CropBox, padding: int, size: tuple[int, int], work_size: tuple[int, int]) -> CropBox:
    """The part around the mask with padding, in the aspect ratio of the work size where the image is large enough."""
    left, top = max(0, bounds[0] - padding), max(0, bounds[1] - padding)
    right, bottom = min(size[0], bounds[2] + padding), min(size[1], bounds[3] + padding)
    width, height = right - left, bottom - top
    if width * work_size[1] > height * work_size[0]:
        height = min(size[1], round(width * work_size[1] / work_size[0]))
    else:
        width = min(size[0], round(height * work_size[0] / work_size[1]))
    left = _clamp((left + right - width) // 2, size[0] - width)
    top = _clamp((top + bottom - height) // 2, size[1] - height)
    return left, top, left + width, top + height


def _clamp(at: int, last: int) -> int:
    return max(0, min(at, last))


def _round_up(side: int) -> int:
    return -(-side // SIZE_STEP_PX) * SIZE_STEP_PX


def _pad_edges(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image with its last column and row repeated up to `size`."""
    values = np.asarray(image)
    more = [(0, size[1] - values.shape[0]), (0, size[0] - values.shape[1])] + [(0, 0)] * (values.ndim - 2)
    return Image.fromarray(np.pad(values, more, "edge"))
