"""Reads an image's recipe as the keys of a job: exact for images of indexd, as far as known for others."""

from __future__ import annotations

import os

from indexd.errors import IndexdError
from indexd.image_metadata.model import ImageFacts
from indexd.images.reader_client import read_image_file
from indexd.jobs.admission.inputs import InputImage
from indexd.jobs.export.from_metadata import FileProblem, job_from_metadata
from indexd.jobs.export.from_recipe import job_keys
from indexd.jobs.export.job_file import JobFile
from indexd.jobs.export.replay import parse_recipe
from indexd.jobs.parsing.validation import FieldError
from indexd.model_files import ModelCatalogue, UnknownModel
from indexd.store.protocols import IndexStore
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKind

INPUT_PATH = ("input",)


class ImageRecipeReader:
    """Reads recipes from images."""

    def __init__(self, store: IndexStore, catalogue: ModelCatalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    def read_job(self, image: InputImage) -> JobFile:
        """The job that renders this image again. Raises FieldError when the image does not state how it was made."""
        try:
            facts = _read_facts(image)
            recipe = parse_recipe(facts.metadata, image.name)
            if recipe is not None:
                return self._from_own_recipe(recipe)
            return job_from_metadata(
                facts.metadata,
                (facts.width, facts.height),
                self._path_of(facts.metadata.input_hash),
                lookup_problem(self._catalogue),
            )
        except (OSError, IndexdError) as error:
            raise FieldError(INPUT_PATH, f"input: {image.name} cannot be made again: {error}") from None

    def _from_own_recipe(self, recipe: Recipe) -> JobFile:
        paths = {}
        for content, noun in recipe.images().items():
            path = self._path_of(content)
            if path is None:
                raise IndexdError(f"it was made with {noun} ({content[:12]}…), which is not in the index")
            paths[content] = path
        origin = {"template": recipe.template, "choices": recipe.choices} if recipe.template is not None else {}
        return JobFile(job_keys(recipe, paths), origin=origin)

    def _path_of(self, content: str | None) -> str | None:
        """The path of an image by its content hash; None when the index has no file of it."""
        try:
            row = self._store.images.get_by_hash(bytes.fromhex(content or ""))
        except ValueError:
            return None
        place = self._store.images.paths([row.id]).get(row.id) if row is not None else None
        return None if place is None else os.fsdecode(place)


def lookup_problem(catalogue: ModelCatalogue) -> FileProblem:
    """A function that returns why a model file of a kind and name is unknown to the catalogue, None where it is known."""

    def problem(kind: FileKind, name: str) -> str | None:
        try:
            catalogue.find_usable(kind, name)
        except UnknownModel as error:
            return str(error)
        return None

    return problem


def _read_facts(image: InputImage) -> ImageFacts:
    return read_image_file(os.fsencode(image.path))
