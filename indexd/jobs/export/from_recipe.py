"""Our own recipe as the keys of the job that makes exactly its picture."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from indexd_schemas.jobs.stage_keys import stage_keys
from indexd_schemas.recipe import MaskRef, Recipe

SIDE_STEP_PX = 8
FINISHED_IMAGE_KINDS = ("upscale", "refine")
"""Kinds that begin with a finished picture."""


def recipe_inputs(recipe: Recipe) -> dict[str, str]:
    """The pictures that a recipe goes by: what each is, for sentences, by its content hash."""
    pictures = {one.image: f"the reference picture {one.image_name}" for one in recipe.reference}
    pictures |= {one.image: f"the {one.type} picture {one.image_name}" for one in recipe.control}
    if recipe.mask is not None and recipe.mask.hash is not None:
        pictures[recipe.mask.hash] = f"the mask {recipe.mask.name}"
    if recipe.input is not None:
        pictures[recipe.input.hash] = f"the picture {recipe.input.name}"
    return pictures


def job_keys(recipe: Recipe, paths: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The keys of the job that makes exactly this recipe's picture; `places` are where the pictures lie that it goes by,
    by content hash.
    """
    keys: dict[str, Any] = {
        "kind": recipe.kind,
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "prompt_syntax": recipe.prompt_syntax,
        "seed": recipe.seed,
        "variation": recipe.variation and recipe.variation.model_dump(),
        "width": recipe.width,
        "height": recipe.height,
        "steps": recipe.steps,
        "cfg": recipe.cfg,
        "cfg_rescale": recipe.cfg_rescale,
        "sampler": recipe.sampler,
        "schedule": recipe.schedule,
        "clip_skip": recipe.clip_skip,
        "model": recipe.model and recipe.model.name,
        "vae": recipe.vae and recipe.vae.name,
        "loras": [lora.model_dump(exclude={"hash"}, exclude_none=True) for lora in recipe.loras],
        # The recipe's prompt holds those that were put before it.
        "lora_triggers": False,
    }
    if recipe.input is not None:
        keys["input"] = paths.get(recipe.input.hash)
        keys["denoise"] = None if recipe.kind in FINISHED_IMAGE_KINDS else recipe.input.denoise
    if recipe.mask is not None:
        keys |= _mask_keys(recipe.mask, paths.get(recipe.mask.hash or ""))
    if recipe.kind in FINISHED_IMAGE_KINDS or recipe.width % SIDE_STEP_PX or recipe.height % SIDE_STEP_PX:
        # The input's own, which is taken where none is named; only inpaint and finished pictures have sizes of any step.
        del keys["width"], keys["height"]
    keys |= _conditioning_keys(recipe, paths) | stage_keys(recipe)
    return {key: value for key, value in keys.items() if value is not None}


def _conditioning_keys(recipe: Recipe, paths: Mapping[str, str]) -> dict[str, Any]:
    guides: dict[str, Any] = {}
    if recipe.control:
        without = {"model", "image", "image_name", "map"}
        guides["control"] = [
            one.model_dump(exclude=without, exclude_none=True)
            | {"model": one.model.name, "image": paths.get(one.image)}
            for one in recipe.control
        ]
    if recipe.reference:
        guides["reference"] = [
            {"image": paths.get(one.image), "weight": one.weight, "model": one.model.name} for one in recipe.reference
        ]
    return guides


def _mask_keys(mask: MaskRef, file: str | None) -> dict[str, Any]:
    what: dict[str, Any] = {"file": file}
    if mask.hash is None:
        region = {"region": mask.region, "index": mask.index}
        what = {"padding": mask.padding} | ({"box": list(mask.box)} if mask.box is not None else region)
    return {
        "mask": {**what, "invert": mask.invert},
        "mask_blur": mask.blur,
        "masked_content": mask.content,
        "only_masked": mask.only_masked,
        "only_masked_padding": mask.only_masked_padding,
    }
