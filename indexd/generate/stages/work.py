"""What the stages after the first pass share: the render in hand, passes with wishes of their own, files that models name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from indexd.errors import RenderFailed
from indexd.generate.task import Task, same
from indexd.generate.text import Conditioning
from indexd.models.identity import short_hash
from indexd.worker.calls import Render
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import ModelRef
from indexd_schemas.recipe_stages import PassRecipe
from indexd_schemas.samplers import resolve


@dataclass(slots=True)
class Work:
    """One picture on its way. Stages read `recipe` and write into it what only they know; `notes` become part of the result.

    `task` is None where the recipe has no model, and no stage denoises.
    """

    call: Render
    session: RenderSession
    recipe: Recipe
    task: Task | None = None
    notes: list[str] = field(default_factory=list)

    def model(self, stage: str) -> Task:
        """The task of a stage that denoises. Raises RenderFailed where the recipe has no model."""
        if self.task is None:
            raise RenderFailed(f"{stage}: the recipe names no checkpoint, and this stage needs one")
        return self.task

    def know(self, **fields: Any) -> None:
        """Write into the recipe."""
        self.recipe = self.recipe.model_copy(update=fields)

    def smaller_tiles(self, stage: str, wanted: int, used: int) -> int | None:
        """The side of the tiles in which a model had to enlarge, with a note; None where they were those that were wanted."""
        if used == wanted:
            return None
        self.notes.append(f"{stage}: in tiles of {used} px, because there was no room for {wanted}")
        return used


def pass_of(task: Task, wanted: PassRecipe) -> Task:
    """The task with the steps, cfg and sampler of a pass where it has its own."""
    own = {key: value for key in ("steps", "cfg") if (value := getattr(wanted, key)) is not None}
    choice = task.choice
    if wanted.sampler is not None:
        choice = resolve(wanted.sampler, wanted.schedule, wanted.steps or task.recipe.steps)
    return replace(task, recipe=task.recipe.model_copy(update=own), choice=choice)


def steps_made(task: Task, denoise: float) -> int:
    """How many of its steps a pass makes."""
    return int(task.recipe.steps * denoise)


def texts_of(task: Task, wanted: PassRecipe, prompt: str | None = None) -> Conditioning:
    """What the UNet is told in a pass, encoded before it begins; `prompt` goes before the pass's own."""
    conditioning = task.condition(wanted.prompt if prompt is None else prompt, wanted.negative_prompt)
    conditioning.prepare(max(1, steps_made(task, wanted.denoise)))
    return conditioning


def known_file(what: str, stated: ModelRef, path: str | None, session: RenderSession) -> tuple[Path, ModelRef]:
    """The file of a model that a stage names, and its name with its hash.

    Raises RenderFailed when it is gone, or is not the one that the recipe was made with.
    """
    if path is None or not Path(path).is_file():
        raise RenderFailed(
            f"{what} {stated.name} has no file; it was found when the job was admitted, and is gone since"
        )
    try:
        found = short_hash(path, session.settings.cache_folder)
    except OSError as error:
        raise RenderFailed(f"{what} {stated.name} cannot be read: {error.strerror}") from error
    same(what, stated.name, stated.hash, found)
    return Path(path), stated.model_copy(update={"hash": found})
