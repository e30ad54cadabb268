"""Metadata of images that indexd rendered: the recipe (indexd_schemas.recipe) as JSON.

PNG has it in the text chunk `indexd`, the other formats in the XMP property `indexd:recipe` (indexd/images/encode.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from indexd.image_metadata.model import (
    ChoiceUse,
    ControlUse,
    DetailerUse,
    EmbeddingUse,
    ImageMetadata,
    MetadataLora,
    MetadataScore,
    SamplerPass,
)
from indexd.image_metadata.registry import MetadataTexts, register_reader
from indexd.image_metadata.xmp import find_xmp_property
from indexd_schemas.jobs.stages import DetailRecipe, HiresRecipe, RefineRecipe, UpscaleRecipe
from indexd_schemas.recipe import Recipe

RECIPE_CHUNKS = ("png:indexd", "stealth:indexd")
RECIPE_PACKETS = ("xmp", "xmp:extended")


def iter_recipe_texts(get: Callable[[str], str | None]) -> Iterator[tuple[str, str]]:
    """Every recipe in the texts of an image, as (key of the text, JSON). `get` gives a text by its key."""
    for key in RECIPE_CHUNKS:
        if (text := get(key)) is not None:
            yield key, text
    for key in RECIPE_PACKETS:
        if (text := find_xmp_property(get(key), "recipe", ("indexd",))) is not None:
            yield key, text


@register_reader("indexd", rank=10)
def read_indexd_recipe(texts: MetadataTexts) -> ImageMetadata | None:
    """Return the metadata of a recipe, or None where there is no valid one."""
    for key, text in iter_recipe_texts(texts.get):
        try:
            return _metadata(Recipe.model_validate_json(text), key)
        except (ValidationError, ValueError, RecursionError):
            continue  # the A1111 text in the same file states most of it
    return None


def _metadata(recipe: Recipe, source: str) -> ImageMetadata:
    denoise = _denoise(recipe)
    made = ImageMetadata(
        generator="indexd",
        generator_version=recipe.software,
        source=source,
        is_ai="metadata",
        prompt=recipe.prompt,
        negative_prompt=recipe.negative_prompt,
        gen_width=recipe.width,
        gen_height=recipe.height,
        job=recipe.job,
        denoise=denoise,
        upscaler=next((stage.model.name for stage in recipe.stages_of(UpscaleRecipe)), None),
        input_hash=recipe.input.hash if recipe.input else None,
        choices=tuple(ChoiceUse(name, value) for name, value in recipe.choices.items()),
        scores=tuple(MetadataScore(name, one.value, one.model) for name, one in (recipe.scores or {}).items()),
        extras=tuple(_extras(recipe)),
    )
    if recipe.model is None:  # nothing was sampled
        return made
    seed, model = str(recipe.seed), recipe.model.name
    return replace(
        made,
        seed=seed,
        steps=recipe.steps,
        cfg=recipe.cfg,
        sampler=recipe.sampler,
        schedule=recipe.schedule,
        clip_skip=recipe.clip_skip,
        model_name=model,
        model_hash=recipe.model.hash,
        loras=tuple(MetadataLora(lora.name, lora.weight, lora.text_weight, lora.hash) for lora in recipe.loras),
        controls=tuple(_controls(recipe)),
        vae=recipe.vae.name if recipe.vae else None,
        variation_seed=str(recipe.variation.seed) if recipe.variation else None,
        variation_strength=recipe.variation.strength if recipe.variation else None,
        **_hires(recipe),
        embeddings=tuple(EmbeddingUse(use.name, use.hash) for use in recipe.embeddings),
        detailers=tuple(
            DetailerUse(one.detector.name, one.prompt, one.negative_prompt, one.denoise)
            for one in recipe.stages_of(DetailRecipe)
        ),
        passes=(SamplerPass(seed, recipe.steps, recipe.cfg, recipe.sampler, recipe.schedule, denoise, model),),
    )


def _controls(recipe: Recipe) -> Iterator[ControlUse]:
    for one in recipe.control:
        module = one.type if one.preprocess else f"{one.type} (map given)"
        yield ControlUse(one.model.name, module, one.strength, one.start, one.end)
    for reference in recipe.reference:
        yield ControlUse(reference.model.name, "ip-adapter", reference.weight, 0.0, 1.0)


def _hires(recipe: Recipe) -> dict[str, Any]:
    hires = next(iter(recipe.stages_of(HiresRecipe)), None)
    if hires is None:
        return {}
    return {
        "hires_scale": round(hires.width / recipe.width, 4),
        "hires_steps": hires.steps,
        "hires_upscaler": hires.model.name if hires.model else hires.upscaler,
        "hires_denoise": hires.denoise,
    }


def _denoise(recipe: Recipe) -> float | None:
    if recipe.kind in ("img2img", "inpaint") and recipe.input is not None:
        return recipe.input.denoise
    return next((stage.denoise for stage in recipe.stages_of(RefineRecipe) if recipe.kind == "refine"), None)


def _extras(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the fields that have no column."""
    yield "kind", recipe.kind
    yield "prompt_syntax", recipe.prompt_syntax
    if recipe.family:
        yield "family", recipe.family
    if recipe.dtype:
        yield "dtype", recipe.dtype
    if recipe.template is not None:
        yield "template", recipe.template
    if recipe.mask:
        yield "mask", recipe.mask.model_dump_json(exclude_defaults=True)
    for stage in recipe.stages:
        yield stage.stage, stage.model_dump_json(exclude={"stage"}, exclude_none=True)
    yield from (("control_image", f"{one.image} ({one.image_name})") for one in recipe.control)
    yield from (("reference_image", f"{one.image} ({one.image_name})") for one in recipe.reference)
    for lora in recipe.loras:
        if lora.blocks is not None:
            yield "lora_blocks", f"{lora.name}: {json.dumps(lora.blocks)}"
