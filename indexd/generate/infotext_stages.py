"""The stages of a recipe in A1111's `parameters` text, under the names that A1111 and ADetailer give them."""

from __future__ import annotations

from collections.abc import Iterator

from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_stages import DetailRecipe, HiresRecipe
from indexd_schemas.samplers import a1111_labels, resolve_sampler

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
_ORDINALS = {2: " 2nd", 3: " 3rd"}


def stage_settings(recipe: Recipe) -> dict[str, str | None]:
    """Key and value of everything the stages add; None = not stated."""
    stated: dict[str, str | None] = {}
    if recipe.hires is not None:
        stated |= _hires_settings(recipe.hires)
    for number, one in enumerate(recipe.detail, start=1):
        ending = "" if number == 1 else _ORDINALS.get(number, f" {number}th")
        stated |= {f"ADetailer {key}{ending}": value for key, value in _detail_settings(one)}
    if recipe.upscale is not None:
        scale = recipe.upscale.scale
        stated["Postprocess upscale by"] = None if scale is None else f"{scale:g}"
        stated["Postprocess upscaler"] = recipe.upscale.model.name
    return stated


def denoising_strength(recipe: Recipe) -> str | None:
    """The one strength that A1111 knows: of the source picture, else of the second pass."""
    if recipe.kind == "img2img" and recipe.input is not None:
        return f"{recipe.input.denoise:g}"
    second = recipe.hires or (recipe.refine if recipe.kind == "refine" else None)
    return None if second is None else f"{second.denoise:g}"


def _hires_settings(hires: HiresRecipe) -> dict[str, str | None]:
    sampler, schedule = (None, None)
    if hires.sampler is not None:
        sampler, schedule = a1111_labels(resolve_sampler(hires.sampler, hires.schedule))
    named = hires.model.name if hires.model is not None else hires.upscaler or ""
    return {
        "Hires resize": f"{hires.width}x{hires.height}",
        "Hires steps": None if hires.steps is None else str(hires.steps),
        "Hires upscaler": _UPSCALER_LABELS.get(named, named),
        "Hires sampler": sampler,
        "Hires schedule type": schedule,
        "Hires CFG Scale": None if hires.cfg is None else f"{hires.cfg:g}",
        "Hires prompt": hires.prompt,
        "Hires negative prompt": hires.negative_prompt,
    }


def _detail_settings(detail: DetailRecipe) -> Iterator[tuple[str, str | None]]:
    yield "model", detail.detector.name
    yield "prompt", detail.prompt
    yield "negative prompt", detail.negative_prompt
    yield "confidence", f"{detail.confidence:g}"
    yield "denoising strength", f"{detail.denoise:g}"
