"""Converts the render stages of a recipe into job keys that reproduce them."""

from __future__ import annotations

from typing import Any

from indexd_schemas.recipe import HiresRecipe, Recipe, RecipePart, UpscaleRecipe


def stage_keys(recipe: Recipe) -> dict[str, Any]:
    """The keys `hires`, `detail`, `upscale`, `refine` and `resize`, for the stages in the recipe."""
    keys: dict[str, Any] = {}
    if recipe.hires is not None:
        hires = _dump(recipe.hires, "width", "height", "model", "tile", "overlap", "tile_used")
        hires["size"] = f"{recipe.hires.width}x{recipe.hires.height}"
        if recipe.hires.model is not None:
            hires |= {"upscaler": recipe.hires.model.name} | _tile_keys(recipe.hires)
        keys["hires"] = hires
    if recipe.detail:
        keys["detail"] = [_dump(one, "detector") | {"detector": one.detector.name} for one in recipe.detail]
    if recipe.upscale is not None:
        upscale = _dump(recipe.upscale, "model", "tile_used") | {"model": recipe.upscale.model.name}
        keys["upscale"] = upscale | _tile_keys(recipe.upscale)
    if recipe.refine is not None:
        keys["refine"] = _dump(recipe.refine)
    if recipe.resize is not None:
        resize = recipe.resize
        keys["resize"] = _dump(resize, "width", "height")
        if resize.width is not None:
            keys["resize"] = {"size": f"{resize.width}x{resize.height}"}
    return keys


def _tile_keys(part: HiresRecipe | UpscaleRecipe) -> dict[str, int]:
    """The tile size in use: smaller than requested where GPU memory was short."""
    tile = part.tile if part.tile_used is None else part.tile_used
    return {"tile": tile, "overlap": min(part.overlap, tile // 2)}


def _dump(part: RecipePart, *without: str) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_none=True, exclude=set(without))
