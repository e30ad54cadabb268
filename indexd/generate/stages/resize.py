"""Stage `resize`: the exact size, by Lanczos."""

from __future__ import annotations

from PIL import Image

from indexd.generate.stages.work import Work
from indexd.images.sizes import resized


def resize(work: Work, picture: Image.Image) -> Image.Image:
    """The picture in the size of the recipe; one that has it already is left alone."""
    assert work.recipe.resize is not None
    size = resized(picture.size, work.recipe.resize)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)
