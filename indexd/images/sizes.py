"""How large a picture becomes: the same arithmetic at admission as in the worker."""

from __future__ import annotations

from indexd_schemas.recipe_stages import ResizeRecipe

SizePx = tuple[int, int]
"""Width and height in pixels."""


def scale_size(size: SizePx, factor: float) -> SizePx:
    """Both sides times `factor`, rounded, at least one pixel."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def resized_size(size: SizePx, resize: ResizeRecipe) -> SizePx:
    """Width and height after a resize."""
    if resize.width is not None and resize.height is not None:
        return resize.width, resize.height
    if resize.scale is not None:
        return scale_size(size, resize.scale)
    return scale_size(size, (resize.max_side or max(size)) / max(size))
