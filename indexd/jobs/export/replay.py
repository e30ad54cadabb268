"""An image's own recipe: read from the image, asked for again, and two images compared by their pixels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from indexd.errors import IndexdError, NotAnImage
from indexd.image_metadata.model import ImageMetadata
from indexd.images.reader_client import read_image_file
from indexd.images.recipe_reader import iter_recipe_texts
from indexd.jobs.export.from_recipe import output_keys
from indexd.jobs.export.job_file import json_in_yaml
from indexd_schemas.api.responses import ReplayReport
from indexd_schemas.image_format import OutputEncoding
from indexd_schemas.recipe import Recipe


def read_origin(path: Path) -> tuple[ImageMetadata, Recipe | None]:
    """What an image says of how it was made, and its recipe if indexd made it.

    Raises IndexdError when it says nothing by which it can be made again.
    """
    try:
        facts = read_image_file(os.fsencode(path.resolve()), with_sidecars=False)
    except (OSError, NotAnImage) as error:
        raise IndexdError(f"{path} cannot be read: {error}") from None
    made = facts.metadata
    recipe = parse_recipe(made, str(path))
    if recipe is None and (made.prompt is None or made.seed is None):
        raise IndexdError(f"{path} carries no recipe of indexd, and no prompt and seed of another program")
    return made, recipe


def parse_recipe(made: ImageMetadata, name: str) -> Recipe | None:
    """The recipe in the metadata of the image called `name`, None where it is none of ours. Raises IndexdError."""
    texts: dict[str, str] = {}
    for chunk in made.raw:
        texts.setdefault(chunk.key, chunk.text)
    text = next((text for _, text in iter_recipe_texts(texts.get)), None)
    if text is None:
        return None
    try:
        return Recipe.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise IndexdError(f"the recipe in {name} cannot be used: {where}: {first['msg']}") from None


def replay_job_text(image: Path, folder: Path, name: str, encoding: OutputEncoding) -> str:
    """A job file that makes `image` again in `folder` as `name`, with the suffix of its format."""
    job = {
        "kind": "regenerate",
        "input": str(image.absolute()),
        "output": {"folder": str(folder), "name": name, **output_keys(encoding)},
        "priority": "high",
    }
    return json_in_yaml(job, indent=1) + "\n"


def compare_images(image: Path, replayed: Path) -> ReplayReport:
    """Compare two images pixel by pixel."""
    first, second = _pixels(image), _pixels(replayed)
    same_bytes = image.read_bytes() == replayed.read_bytes()
    largest, count = None, None
    if first.shape == second.shape:
        difference = np.abs(first.astype(np.int16) - second.astype(np.int16))
        largest, count = int(difference.max(initial=0)), int(np.any(difference, axis=-1).sum())
    return ReplayReport(
        original=str(image),
        replayed=str(replayed),
        equal=largest == 0,
        same_bytes=same_bytes,
        largest_difference=largest,
        differing_pixels=count,
    )


def _pixels(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """RGBA values (height, width, 4)."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "AVIF")) as opened:
            return np.asarray(opened.convert("RGBA"), dtype=np.uint8)
    except Exception as error:
        # Pillow raises eight classes over broken files.
        raise IndexdError(f"{path} cannot be decoded: {error}") from None
