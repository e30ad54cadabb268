"""Where a render starts: noise, and source images."""

from __future__ import annotations

from pathlib import Path

import torch
from blake3 import blake3
from PIL import Image, ImageOps

from indexd.errors import NotAnImage, RenderFailed
from indexd.generate.family import RenderModel
from indexd.generate.sampling.noise_source import NoiseSource
from indexd.images.decode import decode_bytes, flatten_on_white
from indexd_schemas.recipe import InputRef, RecipeVariation


def draw_noise(
    model: RenderModel, width: int, height: int, source: NoiseSource, variation: RecipeVariation | None = None
) -> torch.Tensor:
    """Unit noise for latents of an image of this size, drawn in float32 whatever the model computes in."""
    scale = model.pixels_per_latent
    drawn = source.draw((1, model.latent_channels, height // scale, width // scale), variation)
    return drawn.to(model.device, model.latent_dtype)


def load_fitted_source(path: Path, source_ref: InputRef, width: int, height: int) -> Image.Image:
    """The source of img2img in this size: scaled to cover it and cropped to the middle. Raises RenderFailed."""
    return ImageOps.fit(load_source(path, source_ref), (width, height), Image.Resampling.LANCZOS)


def load_source(path: Path, source_ref: InputRef) -> Image.Image:
    """The source image. Raises RenderFailed."""
    return load_verified_image(path, "source image", source_ref.name, source_ref.hash)


def load_verified_image(path: Path, what: str, name: str, content_hash: str) -> Image.Image:
    """The image as RGB, rotated by its EXIF orientation, transparency over white. `what` names it in errors.

    Raises RenderFailed when it cannot be read or is not the image of that hash.
    """
    if not path.is_file():
        raise RenderFailed(f"the {what} {name} is not there any more, or is no regular file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RenderFailed(f"the {what} {name} cannot be read: {error.strerror}") from error
    found = blake3(data).hexdigest()
    if found != content_hash:
        raise RenderFailed(
            f"the {what} {name} is not the one the recipe names: its hash is {found[:12]}…, "
            f"not {content_hash[:12]}…; it was changed since"
        )
    try:
        decoded = decode_bytes(data)
    except (NotAnImage, OSError) as error:
        raise RenderFailed(f"the {what} {name} is not a readable image: {error}") from error
    if decoded.is_cut_off:
        raise RenderFailed(f"the {what} {name} is cut off: its end is missing; copy the whole file again")
    return flatten_on_white(decoded.image)
