"""What the stages after the first pass share: the render in hand, passes with wishes of their own, files that models name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from indexd.errors import RenderFailed
from indexd.generate.task import DenoiseTask, check_hash
from indexd.generate.text import TextConditioning
from indexd.models.identity import short_hash
from indexd.worker.calls import Render
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import ModelRef
from indexd_schemas.recipe_stages import PassRecipe
from indexd_schemas.samplers import resolve_sampler


@dataclass(slots=True)
class RenderContext:
    """One picture on its way. Stages read `recipe` and write into it what only they know; `notes` become part of the result.

    `task` is None where the recipe has no model, and no stage denoises.
    """

    call: Render
    session: RenderSession
    recipe: Recipe
    task: DenoiseTask | None = None
    notes: list[str] = field(default_factory=list)

    def require_task(self, stage: str) -> DenoiseTask:
        """The task of a stage that denoises. Raises RenderFailed where the recipe has no model."""
        if self.task is None:
            raise RenderFailed(f"{stage}: the recipe names no checkpoint, and this stage needs one")
        return self.task

    def update_recipe(self, **fields: Any) -> None:
        """Write into the recipe."""
        self.recipe = self.recipe.model_copy(update=fields)

    def note_smaller_tiles(self, stage: str, wanted: int, used: int) -> int | None:
        """The side of the tiles in which a model had to enlarge, with a note; None where they were those that were wanted."""
        if used == wanted:
            return None
        self.notes.append(f"{stage}: in tiles of {used} px, because there was no room for {wanted}")
        return used


def with_pass_settings(task: DenoiseTask, pass_recipe: PassRecipe) -> DenoiseTask:
    """The task with the steps, cfg and sampler of a pass where it has its own."""
    own = {key: value for key in ("steps", "cfg") if (value := getattr(pass_recipe, key)) is not None}
    choice = task.choice
    if pass_recipe.sampler is not None:
        choice = resolve_sampler(pass_recipe.sampler, pass_recipe.schedule, pass_recipe.steps or task.recipe.steps)
    return replace(task, recipe=task.recipe.model_copy(update=own), choice=choice)


def effective_steps(task: DenoiseTask, denoise: float) -> int:
    """How many of its steps a pass makes."""
    return int(task.recipe.steps * denoise)


def encode_pass_prompts(task: DenoiseTask, pass_recipe: PassRecipe, prompt: str | None = None) -> TextConditioning:
    """What the UNet is told in a pass, encoded before it begins; `prompt` goes before the pass's own."""
    conditioning = task.encode_prompts(pass_recipe.prompt if prompt is None else prompt, pass_recipe.negative_prompt)
    conditioning.encode_ahead(max(1, effective_steps(task, pass_recipe.denoise)))
    return conditioning


def verified_model_file(
    what: str, model_ref: ModelRef, path: str | None, session: RenderSession
) -> tuple[Path, ModelRef]:
    """The file of a model that a stage names, and its name with its hash.

    Raises RenderFailed when it is gone, or is not the one that the recipe was made with.
    """
    if path is None or not Path(path).is_file():
        raise RenderFailed(
            f"{what} {model_ref.name} has no file; it was found when the job was admitted, and is gone since"
        )
    try:
        found = short_hash(path, session.settings.cache_folder)
    except OSError as error:
        raise RenderFailed(f"{what} {model_ref.name} cannot be read: {error.strerror}") from error
    check_hash(what, model_ref.name, model_ref.hash, found)
    return Path(path), model_ref.model_copy(update={"hash": found})
