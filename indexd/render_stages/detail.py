"""Render stage `detail`: what a detector finds is rendered again at its own resolution and blended back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from indexd.render_stages.stage import ImageStage, StagePlanner, StageSize, render_stage
from indexd_schemas.jobs.stages import Detail, DetailRecipe

if TYPE_CHECKING:
    from PIL import Image

    from indexd.generate.context import RenderContext

_ORDINALS = ("", " 2nd", " 3rd")


@render_stage
class DetailStage(ImageStage[Detail, DetailRecipe]):
    """One stage for each detector of the job, in the order of the job file."""

    name, rank = "detail", 20
    options, recipe = Detail, DetailRecipe
    is_list = denoises = True

    def plan(self, options: Detail, planner: StagePlanner) -> tuple[DetailRecipe, StageSize]:
        recipe = DetailRecipe(
            detector=planner.find_model("detector", options.detector, "detector"),
            kinds=tuple(options.kinds),
            confidence=options.confidence,
            max=options.max,
            padding=options.padding,
            size=options.size,
            feather=options.feather,
            denoise=options.denoise,
            **planner.pass_settings(options),
        )
        return recipe, planner.size

    def run(
        self, recipe: DetailRecipe, context: RenderContext, image: Image.Image, number: int
    ) -> tuple[Image.Image, DetailRecipe]:
        from indexd.generate.stages.detail import redraw_detections

        return redraw_detections(recipe, context, image, number)

    def job_keys(self, recipe: DetailRecipe) -> dict[str, Any]:
        return super().job_keys(recipe) | {"detector": recipe.detector.name}

    def infotext(self, recipe: DetailRecipe, number: int) -> Mapping[str, str | None]:
        """As the extension ADetailer writes it."""
        stated = {
            "model": recipe.detector.name,
            "prompt": recipe.prompt,
            "negative prompt": recipe.negative_prompt,
            "confidence": f"{recipe.confidence:g}",
            "denoising strength": f"{recipe.denoise:g}",
        }
        ending = _ORDINALS[number] if number < len(_ORDINALS) else f" {number + 1}th"
        return {f"ADetailer {key}{ending}": value for key, value in stated.items()}
