"""A picture's own recipe: read from the picture, turned into a job again, and two pictures compared by their pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import ValidationError

from indexd.errors import IndexdError, NotAPicture
from indexd.images.read import read
from indexd.search.job_file import json_in_yaml
from indexd.watch.regular import open_regular
from indexd_schemas.recipe import Recipe
from indexd_schemas.replies import Replayed
from indexd_schemas.stage_keys import stage_keys

RECIPE_CHUNK = "png:indexd"


def recipe_of(picture: Path) -> Recipe:
    """The recipe that a picture carries. Raises IndexdError when it carries none."""
    try:
        with open_regular(picture.resolve()) as file:
            facts = read(file, picture.stat().st_size, picture.name)
    except (OSError, NotAPicture) as error:
        raise IndexdError(f"{picture} cannot be read: {error}") from None
    text = next((chunk.text for chunk in facts.metadata.raw if chunk.key == RECIPE_CHUNK), None)
    if text is None:
        raise IndexdError(f"{picture} carries no recipe of indexd; only pictures that indexd made can be made again")
    try:
        return Recipe.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise IndexdError(f"the recipe in {picture} cannot be used: {where}: {first['msg']}") from None


def pictures_of(recipe: Recipe) -> dict[str, str]:
    """The pictures that a recipe goes by, by content hash: their names then."""
    wanted = {} if recipe.input is None else {recipe.input.hash: recipe.input.name}
    wanted |= {one.image: one.image_name for one in recipe.control}
    return wanted | {one.image: one.image_name for one in recipe.reference}


def job_text(recipe: Recipe, sources: Mapping[str, str], folder: Path, name: str) -> str:
    """A job file that makes the recipe's picture as `folder/name.png`; `sources` says where the pictures that it goes by
    lie now, by content hash.
    """
    job: dict[str, Any] = {
        "kind": recipe.kind,
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "prompt_syntax": recipe.prompt_syntax,
        "seeds": [recipe.seed],
        "width": recipe.width,
        "height": recipe.height,
        "steps": recipe.steps,
        "cfg": recipe.cfg,
        "cfg_rescale": recipe.cfg_rescale,
        "variation": None if recipe.variation is None else recipe.variation.model_dump(),
        "sampler": recipe.sampler,
        "schedule": recipe.schedule,
        "clip_skip": recipe.clip_skip,
        "model": None if recipe.model is None else recipe.model.name,
        "vae": None if recipe.vae is None else recipe.vae.name,
        "loras": [
            _stated(name=lora.name, weight=lora.weight, text_weight=lora.text_weight, blocks=lora.blocks)
            for lora in recipe.loras
        ],
        "control": [
            _stated(
                type=one.type,
                model=one.model.name,
                image=sources[one.image],
                strength=one.strength,
                start=one.start,
                end=one.end,
                preprocess=one.preprocess,
                low=one.low,
                high=one.high,
            )
            for one in recipe.control
        ],
        "reference": [
            {"image": sources[one.image], "weight": one.weight, "model": one.model.name} for one in recipe.reference
        ],
        # The recipe's prompt holds those that were put before it.
        "lora_triggers": False,
        "output": {"folder": str(folder), "name": name},
        "priority": "high",
    }
    if recipe.input is not None:
        job["input"] = sources[recipe.input.hash]
    if recipe.kind == "img2img" and recipe.input is not None:
        job["denoise"] = recipe.input.denoise
    if recipe.kind in ("upscale", "refine"):
        job |= {"width": None, "height": None}  # the input's own
    job |= stage_keys(recipe)
    return json_in_yaml({key: value for key, value in job.items() if value is not None}, indent=1) + "\n"


def _stated(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def compare(picture: Path, replayed: Path) -> Replayed:
    """Compare two pictures pixel by pixel."""
    first, second = _pixels(picture), _pixels(replayed)
    same_bytes = picture.read_bytes() == replayed.read_bytes()
    largest, count = None, None
    if first.shape == second.shape:
        difference = np.abs(first.astype(np.int16) - second.astype(np.int16))
        largest, count = int(difference.max(initial=0)), int(np.any(difference, axis=-1).sum())
    return Replayed(
        picture=str(picture),
        replayed=str(replayed),
        equal=largest == 0,
        same_bytes=same_bytes,
        largest_difference=largest,
        differing_pixels=count,
    )


def _pixels(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """RGBA values (height, width, 4)."""
    try:
        with Image.open(path, formats=("PNG",)) as opened:
            return np.asarray(opened.convert("RGBA"), dtype=np.uint8)
    except Exception as error:
        # Pillow raises eight classes over broken files.
        raise IndexdError(f"{path} cannot be decoded: {error}") from None
