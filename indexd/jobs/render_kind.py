"""Base of the job kinds that render images: one recipe an item, called as `Render`, published as a PNG that carries it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from indexd.errors import (
    ModelUnavailable,
    NotAnImage,
    NotRegularFile,
    is_resource_shortage,
    is_transient_os_error,
    raise_if_transient,
)
from indexd.fs.safe_open import open_regular
from indexd.images.reader_client import read_image_file
from indexd.images.recipe_reader import RECIPE_CHUNK
from indexd.jobs.kinds import Artifact, ExistingOutput, ItemCall, JobKind, JobT, PlannedItem
from indexd.jobs.queue.retry import InputImageGone
from indexd.model_files import ModelCatalogue, UnknownModel
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.calls import GENERATOR, FileRef, Render, Rendered
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKey

PNG_TRAILER = b"\x00\x00\x00\x00IEND\xaeB`\x82"


class RenderKind(JobKind[JobT]):
    """A kind whose items are renders; a subclass gives `name`, `schema` and `plan`."""

    def call(self, job: JobRow, item: JobItemRow, catalogue: ModelCatalogue) -> ItemCall:
        return build_render_call(job, item, catalogue)

    def artifact(self, result: Rendered) -> Artifact:
        seconds = {stage: round(taken, 4) for stage, taken in result.seconds.items()}
        scores: dict[str, float] = {name: one.value for name, one in (result.recipe.scores or {}).items()}
        return Artifact(result.png, {"seconds": seconds, "notes": list(result.notes)}, scores)

    def adopt(self, path: Path, job: JobRow, item: JobItemRow) -> ExistingOutput | None:
        return find_existing_output(path, recipe_with_job(job, item))

    def record(self, job: JobRow, item: JobItemRow) -> dict[str, Any]:
        return recipe_with_job(job, item).model_dump(mode="json")


def planned_render(recipe: Recipe, image_paths: Mapping[str, str], notes: tuple[str, ...] = ()) -> PlannedItem:
    """The item of a recipe. The paths of the images that it goes by, by content hash, stay out of the recipe."""
    settings: dict[str, Any] = {"recipe": recipe.model_dump(mode="json")}
    if image_paths:
        settings["images"] = dict(image_paths)
    main_model = next((key.name for key in recipe.file_keys() if key.kind in ("checkpoint", "upscaler")), "none")
    names = {
        "seed": str(recipe.seed),
        "kind": recipe.kind,
        "model": main_model.rpartition("/")[2],
        "prompt": "-".join(re.findall(r"\w+", recipe.prompt)[:8]).lower()[:80] or "image",
    }
    return PlannedItem(settings, recipe.seed, names, notes)


def recipe_with_job(job: JobRow, item: JobItemRow) -> Recipe:
    """The recipe of an item with its place in the ledger, as the image will carry it."""
    return Recipe.model_validate(item.settings["recipe"]).model_copy(update={"job": f"{job.id}/{item.index}"})


def build_render_call(job: JobRow, item: JobItemRow, catalogue: ModelCatalogue) -> ItemCall:
    """The render of an item.

    Raises ModelUnavailable where a model file is gone, InputImageGone where an image is; OSError where the system has no
    handle or memory left to read with.
    """
    recipe = recipe_with_job(job, item)
    nouns, paths = recipe.images(), item.settings.get("images", {})
    files: dict[FileKey, FileRef] = {}
    for key in recipe.file_keys():
        if key.kind == "image":
            _check_image(paths[key.name], key.name, nouns[key.name])
            files[key] = FileRef(os.fsencode(paths[key.name]), key.name)
            continue
        try:
            files[key] = FileRef(os.fsencode(catalogue.find(key.kind, key.name).path))
        except UnknownModel as error:
            raise ModelUnavailable(GENERATOR, str(error)) from None
    models = tuple(Path(os.fsdecode(file.path)) for key, file in files.items() if key.kind != "image")
    return ItemCall(Render(recipe, files), models)


RECIPE_CHARACTERS_MAX = 4 << 20
"""A recipe has two prompts of at most a megabyte each; a longer text is nothing that indexd wrote."""


def find_existing_output(path: Path, recipe: Recipe) -> ExistingOutput | None:
    """The image at `path` if it was rendered from `recipe` (its `job` included) and is whole, else None.

    What the worker fills in (hashes, number format, version, scores) is not compared: None in `recipe` stands for anything.
    Raises OSError where the machine keeps it from being read: that is no answer, and a second image must not be made.
    """
    try:
        with open_regular(os.fsencode(path)) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - len(PNG_TRAILER)))
            is_whole = file.read() == PNG_TRAILER
        facts = read_image_file(os.fsencode(path), with_sidecars=False)
    except OSError as error:
        raise_if_transient(error)
        return None
    except (NotRegularFile, NotAnImage):
        return None
    text = next((chunk.text for chunk in facts.metadata.raw if chunk.key == RECIPE_CHUNK), None)
    if not is_whole or text is None or len(text) > RECIPE_CHARACTERS_MAX:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not _matches_recipe(recipe.model_dump(mode="json"), found):
        return None
    return ExistingOutput(facts.content_hash, {one.name: one.value for one in facts.metadata.scores})


def _matches_recipe(expected: Any, found: Any) -> bool:
    if expected is None:
        return True
    if isinstance(expected, Mapping):
        return isinstance(found, Mapping) and all(
            _matches_recipe(value, found.get(key)) for key, value in expected.items()
        )
    if isinstance(expected, (list, tuple)):
        same = isinstance(found, list) and len(found) == len(expected)
        return same and all(_matches_recipe(one, other) for one, other in zip(expected, found, strict=True))
    return bool(expected == found)


def _check_image(path: str, content_hash: str, noun: str) -> None:
    try:
        with open_regular(os.fsencode(path)) as file:
            hasher = blake3()
            while block := file.read(1 << 20):
                hasher.update(block)
    except (OSError, NotRegularFile) as error:
        if is_resource_shortage(error):
            raise
        # One bad sector or dead share must not hold up the jobs that do not read it.
        reason = (
            f"cannot be read ({error}); retry the job when it can"
            if is_transient_os_error(error)
            else "is gone; put it back and retry the job"
        )
        raise InputImageGone(f"{noun} {path} {reason}") from None
    if hasher.hexdigest() != content_hash:
        raise InputImageGone(f"{noun} {path} is not the one that the job was admitted with; drop the job again")
