"""A recipe as the job that renders exactly its image."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from indexd.errors import IndexdError
from indexd.jobs.export.job_file import JobFile
from indexd.render_stages.stage import stage_of
from indexd_schemas.image_format import OutputEncoding
from indexd_schemas.limits import SIZE_STEP_PX
from indexd_schemas.recipe import MaskRef, Recipe


def job_from_recipe(recipe: Recipe, paths: Mapping[str, str]) -> JobFile:
    """The job of a recipe; `paths` are where its images lie, by content hash. Images that are not there become remarks.

    Raises IndexdError for a recipe that means nothing without a missing image: inpaint, upscale and refine.
    """
    missing = {content: noun for content, noun in recipe.images().items() if content not in paths}
    for content, noun in missing.items():
        if recipe.kind not in ("txt2img", "img2img"):
            raise IndexdError(
                f"it was made with {noun} ({content[:12]}…), which is not in the index; "
                "copy it into a watched folder and ask again"
            )
    remarks = [f"{noun} ({content[:12]}…) is not in the index" for content, noun in missing.items()]
    if recipe.input is not None and recipe.input.hash in missing:
        recipe = recipe.model_copy(update={"kind": "txt2img", "input": None})
    kept = {
        "control": tuple(one for one in recipe.control if one.image not in missing),
        "reference": tuple(one for one in recipe.reference if one.image not in missing),
    }
    return JobFile(job_keys(recipe.model_copy(update=kept), paths), remarks)


def job_keys(recipe: Recipe, paths: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The keys of the job that renders exactly this recipe; `paths` are where its images lie, by content hash."""
    keys: dict[str, Any] = {
        "kind": recipe.kind,
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "prompt_syntax": recipe.prompt_syntax,
        "seed": recipe.seed,
        "variation": recipe.variation and recipe.variation.model_dump(),
        "noise": recipe.noise and recipe.noise.model_dump(exclude_defaults=True),
        "width": recipe.width,
        "height": recipe.height,
        "steps": recipe.steps,
        "step_counting": None if recipe.step_counting == "taken" else recipe.step_counting,
        "cfg": recipe.cfg,
        "cfg_rescale": recipe.cfg_rescale,
        "sampler": recipe.sampler,
        "schedule": recipe.schedule,
        "timesteps": None if recipe.timesteps == "interpolated" else recipe.timesteps,
        "clip_skip": recipe.clip_skip,
        "model": recipe.model and recipe.model.name,
        "vae": recipe.vae and recipe.vae.name,
        "loras": [lora.model_dump(exclude={"hash"}, exclude_none=True) for lora in recipe.loras],
        # The trigger words stand in the recipe's prompt already.
        "lora_triggers": False,
        "output": output_keys(recipe.encoding),
    }
    if recipe.input is not None:
        keys["input"] = paths.get(recipe.input.hash)
        keys["denoise"] = None if recipe.starts_finished else recipe.input.denoise
    if recipe.mask is not None:
        keys |= _mask_keys(recipe.mask, paths.get(recipe.mask.hash or ""))
    if recipe.starts_finished or recipe.width % SIZE_STEP_PX or recipe.height % SIZE_STEP_PX:
        # Left out, the size is the input's own; only inpaint and finished images have sizes of any step.
        del keys["width"], keys["height"]
    keys |= _conditioning_keys(recipe, paths) | _stage_keys(recipe)
    return {key: value for key, value in keys.items() if value is not None}


def output_keys(encoding: OutputEncoding) -> dict[str, Any]:
    """The keys of `output:` that save an image in this format and quality."""
    if encoding.format == "png":
        return {"format": "png"}
    return {"format": encoding.format, "quality": "lossless" if encoding.quality is None else encoding.quality}


def _stage_keys(recipe: Recipe) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for part in recipe.stages:
        stage = stage_of(part)
        options = stage.job_keys(part)
        if stage.is_list:
            keys.setdefault(stage.name, []).append(options)
        else:
            keys[stage.name] = options
    return keys


def _conditioning_keys(recipe: Recipe, paths: Mapping[str, str]) -> dict[str, Any]:
    conditioning: dict[str, Any] = {}
    if recipe.control:
        without = {"model", "image", "image_name", "map"}
        conditioning["control"] = [
            one.model_dump(exclude=without, exclude_none=True)
            | {"model": one.model.name, "image": paths.get(one.image)}
            for one in recipe.control
        ]
    if recipe.reference:
        conditioning["reference"] = [
            {"image": paths.get(one.image), "weight": one.weight, "model": one.model.name} for one in recipe.reference
        ]
    return conditioning


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
