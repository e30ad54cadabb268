"""Render stage `upscale`: a model enlarges the image in tiles; Lanczos brings it to the wanted factor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from indexd.images.geometry import scale_size
from indexd.render_stages.stage import ImageStage, StagePlanner, StageSize, render_stage
from indexd_schemas.jobs.stages import Upscale, UpscaleRecipe

if TYPE_CHECKING:
    from PIL import Image

    from indexd.generate.context import RenderContext

ASSUMED_SCALE = 4
"""The factor of an upscaler whose name does not tell it; the worker knows it, and holds to the limit itself."""
_SCALE_IN_NAME = re.compile(r"(?<![0-9a-z])(?:x([1-9])|([1-9])x)(?![0-9])", re.IGNORECASE)


@render_stage
class UpscaleStage(ImageStage[Upscale, UpscaleRecipe]):
    """Enlarges the finished image by an upscaler model."""

    name, rank = "upscale", 30
    options, recipe = Upscale, UpscaleRecipe

    def plan(self, options: Upscale, planner: StagePlanner) -> tuple[UpscaleRecipe, StageSize]:
        model = planner.find_model("upscaler", options.model, "model")
        named = _SCALE_IN_NAME.search(model.name.rpartition("/")[2])
        model_scale = int(named[1] or named[2]) if named else ASSUMED_SCALE
        # Before Lanczos the image is as large as the model makes it.
        for factor in (model_scale, options.scale or model_scale):
            sides = scale_size(planner.size.sides, factor)
            planner.check_size(sides, "scale" if options.scale else "model", grown=True)
        recipe = UpscaleRecipe(model=model, scale=options.scale, tile=options.tile, overlap=options.overlap)
        return recipe, StageSize(sides, planner.size.is_exact and options.scale is not None)

    def run(
        self, recipe: UpscaleRecipe, context: RenderContext, image: Image.Image, number: int
    ) -> tuple[Image.Image, UpscaleRecipe]:
        from indexd.generate.stages.upscaler_model import TileSize, lease_upscaler, upscale_in_tiles

        path, model = context.verified_model_file("upscaler", recipe.model)
        with lease_upscaler(context.session, path) as upscaler:
            made, used = upscale_in_tiles(context.session, upscaler, image, TileSize(recipe.tile, recipe.overlap))
            size = scale_size(image.size, upscaler.scale if recipe.scale is None else recipe.scale)
        tile_used = context.note_smaller_tiles(self.name, recipe.tile, used.tile)
        recipe = recipe.model_copy(update={"model": model, "tile_used": tile_used})
        from PIL.Image import Resampling

        return made if made.size == size else made.resize(size, Resampling.LANCZOS), recipe

    def job_keys(self, recipe: UpscaleRecipe) -> dict[str, Any]:
        keys = {"model": recipe.model.name, "scale": recipe.scale, **used_tile_keys(recipe)}
        return {key: value for key, value in keys.items() if value is not None}

    def infotext(self, recipe: UpscaleRecipe, number: int) -> Mapping[str, str | None]:
        return {
            "Postprocess upscale by": None if recipe.scale is None else f"{recipe.scale:g}",
            "Postprocess upscaler": recipe.model.name,
        }


def used_tile_keys(recipe: Any) -> dict[str, int]:
    """The tile and overlap of the recipe of an upscaler model, as they were used where memory allowed only smaller ones."""
    tile = recipe.tile if recipe.tile_used is None else recipe.tile_used
    return {"tile": tile, "overlap": min(recipe.overlap, tile // 2)}
