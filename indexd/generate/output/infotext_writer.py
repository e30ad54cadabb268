"""Writes a recipe as A1111's `parameters` text, which other programs read.

Form: modules/processing.py and modules/infotext_utils.py of AUTOMATIC1111/stable-diffusion-webui (create_infotext, quote).
"""

from __future__ import annotations

import json
import re

from indexd.render_stages.stage import numbered_stages, stage_of
from indexd_schemas.jobs.stages import HiresRecipe, RefineRecipe
from indexd_schemas.recipe import LoraRef, Recipe
from indexd_schemas.recipe_part import ModelRef, PassRecipe
from indexd_schemas.samplers import a1111_labels, resolve_sampler


def format_infotext(recipe: Recipe) -> str:
    """Prompt with its LoRA tags, negative prompt, and one line of settings."""
    lines = [_with_lora_tags(recipe.prompt, recipe.loras)]
    if recipe.negative_prompt:
        lines.append(f"Negative prompt: {recipe.negative_prompt}")
    lines.append(", ".join(f"{key}: {_quote(value)}" for key, value in _settings(recipe).items()))
    return "\n".join(lines)


def _settings(recipe: Recipe) -> dict[str, str]:
    if recipe.model is None:
        # Nothing was sampled: what the recipe says of it would only mislead.
        only = {"Size": f"{recipe.width}x{recipe.height}", **stage_settings(recipe), "Version": recipe.software}
        return {key: value for key, value in only.items() if value}
    sampler, schedule = a1111_labels(resolve_sampler(recipe.sampler, recipe.schedule))
    hashes = ", ".join(f"{lora.name}: {lora.hash}" for lora in recipe.loras if lora.hash)
    embeddings = ", ".join(f"{use.name}: {use.hash}" for use in recipe.embeddings)
    stated: dict[str, str | None] = {
        "Steps": str(recipe.steps),
        "Sampler": sampler,
        "Schedule type": schedule,
        "CFG scale": f"{recipe.cfg:g}",
        "CFG Rescale": f"{recipe.cfg_rescale:g}" if recipe.cfg_rescale else None,
        "Seed": str(recipe.seed),
        "Variation seed": None if recipe.variation is None else str(recipe.variation.seed),
        "Variation seed strength": None if recipe.variation is None else f"{recipe.variation.strength:g}",
        "Size": f"{recipe.width}x{recipe.height}",
        "Model hash": recipe.model.hash,
        "Model": recipe.model.name,
        "VAE hash": None if recipe.vae is None else recipe.vae.hash,
        "VAE": None if recipe.vae is None else recipe.vae.name,
        "Denoising strength": denoising_strength(recipe),
        "Clip skip": None if recipe.clip_skip is None else str(recipe.clip_skip),
        "Lora hashes": hashes or None,
        "TI hashes": embeddings or None,
        **_controlnet_units(recipe),
        **stage_settings(recipe),
        "Version": recipe.software,
    }
    return {key: value for key, value in stated.items() if value}


def _controlnet_units(recipe: Recipe) -> dict[str, str]:
    """Controls, and after them references, as the extension sd-webui-controlnet writes its units (ControlNet 0, 1, …)."""
    units: list[dict[str, object]] = [
        {
            "Module": "none" if not one.preprocess else one.type,
            "Model": _model_label(one.model),
            "Weight": f"{one.strength:g}",
            "Resize Mode": "Crop and Resize",
            **({} if one.low is None else {"Threshold A": one.low, "Threshold B": one.high}),
            "Guidance Start": f"{one.start:g}",
            "Guidance End": f"{one.end:g}",
            "Pixel Perfect": True,
            "Control Mode": "Balanced",
        }
        for one in recipe.control
    ]
    units += [
        {"Module": "ip-adapter", "Model": _model_label(one.model), "Weight": f"{one.weight:g}"}
        for one in recipe.reference
    ]
    return {
        f"ControlNet {number}": ", ".join(f"{key}: {_quote(str(value))}" for key, value in unit.items())
        for number, unit in enumerate(units)
    }


def _model_label(model: ModelRef) -> str:
    return model.name if model.hash is None else f"{model.name} [{model.hash[:8]}]"


def _with_lora_tags(prompt: str, loras: tuple[LoraRef, ...]) -> str:
    """A1111 says in the prompt which LoRAs were used; tags that stand there already are not written twice."""
    for lora in loras:
        if not re.search(rf"<lora:{re.escape(lora.name)}:", prompt):
            text_weight = "" if lora.text_weight is None else f"{lora.text_weight:g}:"
            prompt = f"{prompt} <lora:{lora.name}:{text_weight}{lora.weight:g}>"
    return prompt


def _quote(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(sign in value for sign in ",:\n") else value


def stage_settings(recipe: Recipe) -> dict[str, str | None]:
    """Key and value of everything that the render stages state; None = not stated."""
    stated: dict[str, str | None] = {}
    for part, number in numbered_stages(recipe.stages):
        stated |= stage_of(part).infotext(part, number)
    return stated


def denoising_strength(recipe: Recipe) -> str | None:
    """The one strength that A1111 knows: of the source image, else of the second pass."""
    if recipe.kind == "img2img" and recipe.input is not None:
        return f"{recipe.input.denoise:g}"
    passes: tuple[PassRecipe, ...] = recipe.stages_of(HiresRecipe)
    if recipe.kind == "refine":
        passes = passes or recipe.stages_of(RefineRecipe)
    return f"{passes[0].denoise:g}" if passes else None
