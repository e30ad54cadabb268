"""Base of the job kinds that render images: one recipe an item, called as `Render`, published as an image that carries it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from indexd.errors import ModelUnavailable, NotRegularFile, is_resource_shortage, is_transient_os_error
from indexd.fs.safe_open import open_regular
from indexd.jobs.kinds import Artifact, ItemCall, JobKind, JobT, PlannedItem
from indexd.jobs.queue.retry import InputImageGone
from indexd.model_files import ModelCatalogue, UnknownModel
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.calls import GENERATOR, FileRef, Render, Rendered
from indexd_schemas.image_format import SUFFIXES
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKey


class RenderKind(JobKind[JobT]):
    """A kind whose items are renders; a subclass gives `name`, `schema` and `plan`."""

    def call(self, job: JobRow, item: JobItemRow, catalogue: ModelCatalogue) -> ItemCall:  # noqa: ARG002
        return build_render_call(item, catalogue)

    def artifact(self, result: Rendered) -> Artifact:
        seconds = {stage: round(taken, 4) for stage, taken in result.seconds.items()}
        scores: dict[str, float] = {name: one.value for name, one in (result.recipe.scores or {}).items()}
        return Artifact(result.encoded, {"seconds": seconds, "notes": list(result.notes)}, scores)

    def record(self, item: JobItemRow) -> dict[str, Any]:
        return item_recipe(item).model_dump(mode="json")


def planned_render(recipe: Recipe, image_paths: Mapping[str, str], notes: tuple[str, ...] = ()) -> PlannedItem:
    """The item of a recipe. The paths of the images that it goes by, by content hash, stay out of the recipe."""
    settings: dict[str, Any] = {"recipe": recipe.model_dump(mode="json")}
    if image_paths:
        settings["images"] = dict(image_paths)
    main_model = next((key.name for key in recipe.file_keys() if key.kind in ("checkpoint", "upscaler")), "none")
    names = {
        **recipe.choices,
        "seed": str(recipe.seed),
        "kind": recipe.kind,
        "model": main_model.rpartition("/")[2],
        "prompt": "-".join(re.findall(r"\w+", recipe.prompt)[:8]).lower()[:80] or "image",
    }
    return PlannedItem(settings, recipe.seed, names, notes, SUFFIXES[recipe.encoding.format])


def item_recipe(item: JobItemRow) -> Recipe:
    """The recipe of an item, as it was planned."""
    return Recipe.model_validate(item.settings["recipe"])


def build_render_call(item: JobItemRow, catalogue: ModelCatalogue) -> ItemCall:
    """The render of an item.

    Raises ModelUnavailable where a model file is gone, InputImageGone where an image is; OSError where the system has no
    handle or memory left to read with.
    """
    recipe = item_recipe(item)
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
