"""What every stage of one render is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexd.errors import RenderFailed
from indexd.generate.sampling.native_samplers import needs_negative
from indexd.generate.sdxl.pipeline import ResidentPipeline
from indexd.generate.sdxl.text_encoding import TextConditioning
from indexd.generate.sdxl.textual_inversion import NO_TEXTUAL_INVERSIONS, TextualInversions
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe
from indexd_schemas.samplers import SamplerChoice

if TYPE_CHECKING:
    from indexd.generate.adapters.image_conditioning import ImageConditioning


from dataclasses import field, replace
from pathlib import Path
from typing import Any

from indexd.models.model_identity import short_hash
from indexd.worker.calls import Render
from indexd_schemas.recipe import ModelRef, PassRecipe
from indexd_schemas.samplers import resolve_sampler


@dataclass(frozen=True, slots=True)
class DenoiseTask:
    """One picture in the making: what is asked, the model it is made with, and the call's surroundings."""

    recipe: Recipe
    choice: SamplerChoice
    model: ResidentPipeline
    session: RenderSession
    embeddings: TextualInversions = NO_TEXTUAL_INVERSIONS
    image_conditioning: ImageConditioning | None = None

    def encode_prompts(self, prompt: str | None = None, negative: str | None = None) -> TextConditioning:
        """What the UNet is told: the recipe's texts, or others read in the same way (a detail's, a tile's own)."""
        recipe = self.recipe
        return self.model.encoders.build_conditioning(
            recipe.prompt if prompt is None else prompt,
            recipe.negative_prompt if negative is None else negative,
            guided=recipe.cfg > 1 or needs_negative(self.choice),
            clip_skip=recipe.clip_skip,
            adapters=self.model.loras.active_text_weights(),
            syntax=recipe.prompt_syntax,
            embeddings=self.embeddings,
        )


def check_hash(what: str, name: str, stated: str | None, found: str) -> None:
    """Raises RenderFailed where a recipe states another hash of a file than is found now."""
    if stated is not None and stated != found:
        raise RenderFailed(
            f"{what} {name} is not the file that the recipe was made with: its hash is {found}, not {stated}; "
            "put the right file there, or take the hash out of the recipe"
        )


# What the stages after the first pass share: the render in hand, passes with wishes of their own, files that models name.


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
