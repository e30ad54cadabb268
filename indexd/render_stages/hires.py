"""Render stage `hires`: latents are enlarged (themselves, or as pixels) and denoised once more at the larger size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from indexd.render_stages.stage import LatentStage, StagePlanner, StageSize, render_stage
from indexd.render_stages.upscale import used_tile_keys
from indexd_schemas.jobs.job_part import parse_sides
from indexd_schemas.jobs.stages import HIRES_UPSCALERS, Hires, HiresRecipe
from indexd_schemas.limits import MAX_SIDE_PX, MIN_SIDE_PX, SIZE_STEP_PX
from indexd_schemas.samplers import a1111_labels, resolve_sampler

if TYPE_CHECKING:
    import torch

    from indexd.generate.context import RenderContext

DEFAULT_SCALE = 2.0
_UPSCALER_LABELS = {
    "latent": "Latent",
    "latent_antialiased": "Latent (antialiased)",
    "latent_bicubic": "Latent (bicubic)",
    "latent_bicubic_antialiased": "Latent (bicubic antialiased)",
    "latent_nearest": "Latent (nearest)",
    "latent_nearest_exact": "Latent (nearest-exact)",
    "latent_area": "Latent (area)",
    "nearest": "Nearest",
    "lanczos": "Lanczos",
}


@render_stage
class HiresStage(LatentStage[Hires, HiresRecipe]):
    """The second pass of A1111's "Hires. fix"."""

    name, rank = "hires", 10
    options, recipe = Hires, HiresRecipe
    denoises = True

    def plan(self, options: Hires, planner: StagePlanner) -> tuple[HiresRecipe, StageSize]:
        if planner.starts_finished:
            reason = f"it works on latents, and {planner.job_kind} starts from a finished image; use `refine`"
            raise planner.refusal("", reason)
        if planner.job_kind == "inpaint":
            raise planner.refusal("", "inpaint keeps what lies around its mask as it is; use `upscale` or `refine`")
        scale = options.scale or DEFAULT_SCALE
        sides = parse_sides(options.size) if options.size else None
        width, height = sides or (_round_to_step(side * scale) for side in planner.size.sides)
        if max(width, height) > MAX_SIDE_PX:
            raise planner.refusal("scale", f"{width}x{height} pixels; a side has at most {MAX_SIDE_PX}")
        planner.check_size((width, height), "size" if options.size else "scale")
        # A1111's `Latent (bicubic antialiased)` is `latent_bicubic_antialiased` here.
        name = "_".join(re.findall(r"[a-z0-9]+", options.upscaler.casefold()))
        is_model = name not in HIRES_UPSCALERS
        recipe = HiresRecipe(
            width=width,
            height=height,
            upscaler=None if is_model else name,
            model=planner.find_model("upscaler", options.upscaler, "upscaler", HIRES_UPSCALERS) if is_model else None,
            tile=options.tile,
            overlap=options.overlap,
            denoise=options.denoise,
            **planner.pass_settings(options),
        )
        return recipe, StageSize((width, height))

    def run(
        self, recipe: HiresRecipe, context: RenderContext, latents: torch.Tensor
    ) -> tuple[torch.Tensor, HiresRecipe]:
        from indexd.generate.stages.hires import denoise_enlarged

        return denoise_enlarged(recipe, context, latents)

    def job_keys(self, recipe: HiresRecipe) -> dict[str, Any]:
        left_out = {"stage", "width", "height", "model", "tile", "overlap", "tile_used"}
        keys = recipe.model_dump(mode="json", exclude_none=True, exclude=left_out)
        keys["size"] = f"{recipe.width}x{recipe.height}"
        if recipe.model is not None:
            keys |= {"upscaler": recipe.model.name, **used_tile_keys(recipe)}
        return keys

    def infotext(self, recipe: HiresRecipe, number: int) -> Mapping[str, str | None]:
        sampler, schedule = (None, None)
        if recipe.sampler is not None:
            sampler, schedule = a1111_labels(resolve_sampler(recipe.sampler, recipe.schedule))
        upscaler = recipe.model.name if recipe.model is not None else recipe.upscaler or ""
        return {
            "Hires resize": f"{recipe.width}x{recipe.height}",
            "Hires steps": None if recipe.steps is None else str(recipe.steps),
            "Hires upscaler": _UPSCALER_LABELS.get(upscaler, upscaler),
            "Hires sampler": sampler,
            "Hires schedule type": schedule,
            "Hires CFG Scale": None if recipe.cfg is None else f"{recipe.cfg:g}",
            "Hires prompt": recipe.prompt,
            "Hires negative prompt": recipe.negative_prompt,
        }


def _round_to_step(side: float) -> int:
    return max(MIN_SIDE_PX, round(side / SIZE_STEP_PX) * SIZE_STEP_PX)
