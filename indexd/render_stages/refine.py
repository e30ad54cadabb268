"""Render stage `refine`: the finished image goes through img2img once more, in tiles that overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexd.images.geometry import split_into_tiles
from indexd.render_stages.stage import ImageStage, StagePlanner, StageSize, render_stage
from indexd_schemas.jobs.stages import MAX_TILE_PROMPTS, Refine, RefineRecipe
from indexd_schemas.limits import SIZE_STEP_PX

if TYPE_CHECKING:
    from PIL import Image

    from indexd.generate.context import RenderContext


@render_stage
class RefineStage(ImageStage[Refine, RefineRecipe]):
    """Keeps the size of the image, which may be larger than any the model was trained for."""

    name, rank = "refine", 40
    options, recipe = Refine, RefineRecipe
    denoises = True

    def plan(self, options: Refine, planner: StagePlanner) -> tuple[RefineRecipe, StageSize]:
        width, height = planner.size.sides
        across, down = (-(-side // SIZE_STEP_PX) * SIZE_STEP_PX for side in (width, height))
        count = len(split_into_tiles(across, down, options.tile, options.overlap, SIZE_STEP_PX))
        if count > MAX_TILE_PROMPTS:
            raise planner.refusal(
                "tile", f"{width}x{height} would be cut into {count} tiles; at most {MAX_TILE_PROMPTS} are allowed"
            )
        if options.prompts is not None and planner.size.is_exact and len(options.prompts) != count:
            raise planner.refusal(
                "prompts", f"{len(options.prompts)} prompts, but {width}x{height} is cut into {count} tiles"
            )
        recipe = RefineRecipe(
            denoise=options.denoise,
            tile=options.tile,
            overlap=options.overlap,
            prompts=None if options.prompts is None else tuple(options.prompts),
            **planner.pass_settings(options),
        )
        return recipe, planner.size

    def run(
        self, recipe: RefineRecipe, context: RenderContext, image: Image.Image, number: int
    ) -> tuple[Image.Image, RefineRecipe]:
        from indexd.generate.stages.refine import denoise_in_tiles

        return denoise_in_tiles(recipe, context, image), recipe
