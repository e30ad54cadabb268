"""Stage `resize`: the exact size, by Lanczos."""

from __future__ import annotations

from PIL import Image

from indexd.generate.context import RenderContext
from indexd.images.geometry import resized_size


def resize(context: RenderContext, image: Image.Image) -> Image.Image:
    """The picture in the size of the recipe; one that has it already is left alone."""
    assert context.recipe.resize is not None
    size = resized_size(image.size, context.recipe.resize)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
