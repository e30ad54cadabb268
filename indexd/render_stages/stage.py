"""A render stage: one class with its options, its plan, its run and its infotext.

A class decorated with `@render_stage` is the whole declaration: job files may then say its key, recipes record it, and the
worker runs it. Importing a stage must not import torch, because the daemon plans with it; `run` imports what it needs.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel

from indexd_schemas.recipe_part import FileKind, ModelRef, StageRecipe, StageRecipes

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from indexd.generate.context import RenderContext

OptionsT = TypeVar("OptionsT", bound=BaseModel)
RecipeT = TypeVar("RecipeT", bound=StageRecipe)
StageT = TypeVar("StageT", bound="type[RenderStage[Any, Any]]")

SizePx = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class StageSize:
    """The size of the image between two stages; not exact behind a model whose factor is only assumed."""

    sides: SizePx
    is_exact: bool = True


class StagePlanner(Protocol):
    """What `plan` may ask of admission. `key` is a key of the stage's options, for the place in the sentence."""

    @property
    def job_kind(self) -> str:
        """The kind of the job."""
        ...

    @property
    def starts_finished(self) -> bool:
        """Whether the job starts from a finished image."""
        ...

    @property
    def size(self) -> StageSize:
        """The size of the image before the stage."""
        ...

    def refusal(self, key: str, text: str) -> Exception:
        """The error that refuses the job because of an option; "" = because of the stage."""
        ...

    def find_model(self, kind: FileKind, name: str, key: str, also: tuple[str, ...] = ()) -> ModelRef:
        """A model file by name. `also` are names that the option knows besides files, for the suggestion."""
        ...

    def check_size(self, sides: SizePx, key: str, *, grown: bool = False) -> None:
        """Refuse an image of this size where it is over the limit; `grown`: the sentence also says the size before."""
        ...

    def pass_settings(self, options: Any) -> dict[str, Any]:
        """The fields of PassRecipe but `denoise`, from the options of a stage that denoises."""
        ...


class RenderStage(ABC, Generic[OptionsT, RecipeT]):
    """A stage by `name`, the key of the job file. Stages of a lower `rank` run first.

    `is_list`: the key holds a list of options, and each becomes a stage of the recipe. `denoises`: it needs a checkpoint.
    """

    name: ClassVar[str]
    rank: ClassVar[int]
    options: type[OptionsT]
    recipe: type[RecipeT]
    is_list: ClassVar[bool] = False
    denoises: ClassVar[bool] = False

    @abstractmethod
    def plan(self, options: OptionsT, planner: StagePlanner) -> tuple[RecipeT, StageSize]:
        """The stage as the recipe records it, and the size of the image after it. Raises `planner.refusal`."""

    def job_keys(self, recipe: RecipeT) -> dict[str, Any]:
        """The options that plan to `recipe` again."""
        return recipe.model_dump(mode="json", exclude_none=True, exclude={"stage"})

    def infotext(self, recipe: RecipeT, number: int) -> Mapping[str, str | None]:
        """What A1111's `parameters` text states of the stage; None = nothing. `number` counts stages of one name from 0."""
        return {}


class LatentStage(RenderStage[OptionsT, RecipeT]):
    """A stage between the first pass and decoding."""

    @abstractmethod
    def run(self, recipe: RecipeT, context: RenderContext, latents: torch.Tensor) -> tuple[torch.Tensor, RecipeT]:
        """The latents after the stage, and its recipe with what only the worker knows."""


class ImageStage(RenderStage[OptionsT, RecipeT]):
    """A stage that changes the decoded image."""

    @abstractmethod
    def run(
        self, recipe: RecipeT, context: RenderContext, image: Image.Image, number: int
    ) -> tuple[Image.Image, RecipeT]:
        """The image after the stage, and its recipe with what only the worker knows."""


_STAGES: dict[str, RenderStage[Any, Any]] = {}


def render_stage(stage: StageT) -> StageT:
    """Class decorator: registers a stage. Raises ValueError where another class has its name."""
    known = _STAGES.get(stage.name)
    if known is not None and _qualified_name(type(known)) != _qualified_name(stage):
        raise ValueError(
            f"the render stage {stage.name!r} is both {_qualified_name(type(known))} and {_qualified_name(stage)}"
        )
    made = stage()
    StageRecipes.register(made.recipe)
    _STAGES[made.name] = made
    return stage


def render_stages() -> tuple[RenderStage[Any, Any], ...]:
    """Every stage in the order in which they run."""
    package = importlib.import_module(__package__ or "")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    return tuple(sorted(_STAGES.values(), key=lambda stage: stage.rank))


def stage_of(recipe: StageRecipe) -> RenderStage[Any, Any]:
    """The stage that a recipe records."""
    return (
        _STAGES[recipe.stage] if recipe.stage in _STAGES else {one.name: one for one in render_stages()}[recipe.stage]
    )


def numbered_stages(stages: tuple[StageRecipe, ...]) -> list[tuple[StageRecipe, int]]:
    """Each stage of a recipe with its number among those of its name, from 0."""
    return [(one, sum(before.stage == one.stage for before in stages[:place])) for place, one in enumerate(stages)]


def _qualified_name(stage: type) -> str:
    return f"{stage.__module__}.{stage.__qualname__}"
