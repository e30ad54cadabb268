"""Parts of a recipe: their base, names of files, and the base of what a render stage records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import BeforeValidator, ConfigDict, SerializeAsAny

from indexd_schemas.contract import Contract
from indexd_schemas.limits import Cfg, Share, Steps

FileKind = Literal[
    "checkpoint", "vae", "lora", "embedding", "controlnet", "ip_adapter", "upscaler", "detector", "image"
]


class FileKey(NamedTuple):
    """A file that a recipe names: a model by its name in the model folders, or an image by the blake3 of its bytes."""

    kind: FileKind
    name: str


class RecipePart(Contract):
    """Base of recipe records: frozen; unknown keys and numbers that are not finite are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelRef(RecipePart):
    """A model file by name; the worker fills in `hash`, the first ten hex digits of its SHA-256 (A1111's "Model hash")."""

    name: str
    hash: str | None = None


class StageRecipe(RecipePart):
    """What a recipe records of one render stage. A subclass gives `stage` a Literal and a default, its name."""

    stage: str

    def file_keys(self) -> Iterator[FileKey]:
        """The model files that the stage reads."""
        return iter(())


class PassRecipe(StageRecipe):
    """A stage that denoises. What is None is taken from the recipe of the image."""

    denoise: Share
    prompt: str | None = None
    negative_prompt: str | None = None
    steps: Steps | None = None
    cfg: Cfg | None = None
    sampler: str | None = None
    schedule: str | None = None


StageRecipeT = TypeVar("StageRecipeT", bound=StageRecipe)


class StageRecipes:
    """The recipe models of the render stages by the name of the stage."""

    by_name: ClassVar[dict[str, type[StageRecipe]]] = {}

    @classmethod
    def register(cls, part: type[StageRecipeT]) -> type[StageRecipeT]:
        """Class decorator: recipes may hold such a part."""
        name = part.model_fields["stage"].default
        known = cls.by_name.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (part.__module__, part.__qualname__):
            raise ValueError(f"the render stage {name!r} has two recipes: {known!r} and {part!r}")
        cls.by_name[name] = part
        return part

    @classmethod
    def parse(cls, value: Any) -> Any:
        """A part from plain data, by its `stage`."""
        if not isinstance(value, Mapping):
            return value
        part = cls.by_name.get(str(value.get("stage")))
        if part is None:
            raise ValueError(f"there is no render stage {value.get('stage')!r}; there are {', '.join(cls.by_name)}")
        return part.model_validate(value)


AnyStageRecipe = Annotated[SerializeAsAny[StageRecipe], BeforeValidator(StageRecipes.parse)]
