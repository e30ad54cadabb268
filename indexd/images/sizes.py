"""How large a picture becomes: the same arithmetic at admission as in the worker."""

from __future__ import annotations

from indexd_schemas.recipe_stages import ResizeRecipe

Sides = tuple[int, int]
"""Width and height in pixels."""


def times(sides: Sides, factor: float) -> Sides:
    """Both sides times `factor`, rounded, at least one pixel."""
    return max(1, round(sides[0] * factor)), max(1, round(sides[1] * factor))


def resized(sides: Sides, resize: ResizeRecipe) -> Sides:
    """Width and height after a resize."""
    if resize.width is not None and resize.height is not None:
        return resize.width, resize.height
    if resize.scale is not None:
        return times(sides, resize.scale)
    return times(sides, (resize.max_side or max(sides)) / max(sides))
