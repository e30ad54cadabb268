"""Render stage `resize`: the exact size, by Lanczos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexd.images.geometry import SizePx, scale_size
from indexd.render_stages.stage import ImageStage, StagePlanner, StageSize, render_stage
from indexd_schemas.jobs.job_part import parse_sides
from indexd_schemas.jobs.stages import Resize, ResizeRecipe

if TYPE_CHECKING:
    from PIL import Image

    from indexd.generate.context import RenderContext


def resized_size(size: SizePx, resize: ResizeRecipe) -> SizePx:
    """Width and height after a resize."""
    if resize.width is not None and resize.height is not None:
        return resize.width, resize.height
    if resize.scale is not None:
        return scale_size(size, resize.scale)
    return scale_size(size, (resize.max_side or max(size)) / max(size))


@render_stage
class ResizeStage(ImageStage[Resize, ResizeRecipe]):
    """Brings the finished image to its last size; one that has it already is left alone."""

    name, rank = "resize", 50
    options, recipe = Resize, ResizeRecipe

    def plan(self, options: Resize, planner: StagePlanner) -> tuple[ResizeRecipe, StageSize]:
        width, height = parse_sides(options.size) if options.size else (None, None)
        recipe = ResizeRecipe(width=width, height=height, scale=options.scale, max_side=options.max_side)
        key = "size" if options.size else "scale" if options.scale else "max_side"
        sides = resized_size(planner.size.sides, recipe)
        planner.check_size(sides, key, grown=options.scale is not None)
        return recipe, StageSize(sides, planner.size.is_exact or options.size is not None)

    def run(
        self, recipe: ResizeRecipe, context: RenderContext, image: Image.Image, number: int
    ) -> tuple[Image.Image, ResizeRecipe]:
        size = resized_size(image.size, recipe)
        from PIL.Image import Resampling

        return image if size == image.size else image.resize(size, Resampling.LANCZOS), recipe

    def job_keys(self, recipe: ResizeRecipe) -> dict[str, Any]:
        if recipe.width is not None:
            return {"size": f"{recipe.width}x{recipe.height}"}
        return super().job_keys(recipe)
