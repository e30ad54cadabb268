"""What a picture says of its own making, as the keys of a job: exactly where it is ours, as far as it goes where not."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from indexd.catalogue import Catalogue, UnknownModel
from indexd.errors import IndexdError
from indexd.images.facts import ImageFacts
from indexd.images.read import read
from indexd.images.sidecar import sidecars
from indexd.jobs.diagnose import FieldProblem
from indexd.jobs.inputs import InputPicture
from indexd.search.job_file import JobFile
from indexd.search.metadata_job import job_of
from indexd.search.recipe_job import keys_of, pictures_of
from indexd.search.replay import recipe_in
from indexd.store.index import Store
from indexd.watch.regular import open_regular
from indexd_schemas.recipe import Recipe

KEY = ("input",)


class OwnRecipes:
    """Reads pictures for their recipes."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    def of(self, picture: InputPicture) -> JobFile:
        """The job that makes this picture again. Raises FieldProblem when it does not say how it was made."""
        try:
            facts = _facts(picture)
            recipe = recipe_in(facts.metadata, picture.name)
            if recipe is not None:
                return self._ours(recipe)
            return job_of(
                facts.metadata,
                (facts.width, facts.height),
                self._place(facts.metadata.input_hash),
                problem_of(self._catalogue.checkpoint),
                problem_of(self._catalogue.lora),
            )
        except (OSError, IndexdError) as error:
            raise FieldProblem(KEY, f"input: {picture.name} cannot be made again: {error}") from None

    def _ours(self, recipe: Recipe) -> JobFile:
        wanted = pictures_of(recipe).items()
        return JobFile(keys_of(recipe, {content: self._needed(what, content) for content, what in wanted}))

    def _needed(self, what: str, content: str) -> str:
        place = self._place(content)
        if place is None:
            raise IndexdError(f"it was made with {what} ({content[:12]}…), which is not in the index")
        return place

    def _place(self, content: str | None) -> str | None:
        """Where a picture lies now, found by its content."""
        try:
            row = self._store.images.by_hash(bytes.fromhex(content or ""))
        except ValueError:
            return None
        place = self._store.images.paths([row.id]).get(row.id) if row is not None else None
        return None if place is None else os.fsdecode(place)


def problem_of(find: Callable[[str], Any]) -> Callable[[str], str | None]:
    """Why a model file of a name cannot be found, from what raises UnknownModel; None where it can."""

    def problem(name: str) -> str | None:
        try:
            find(name)
        except UnknownModel as error:
            return str(error)
        return None

    return problem


def _facts(picture: InputPicture) -> ImageFacts:
    path = os.fsencode(picture.path)
    with open_regular(path) as file:
        return read(file, os.fstat(file.fileno()).st_size, picture.name, lambda: sidecars(path))
