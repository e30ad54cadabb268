"""The recipe of an image: stored with each item of a job, and written into the image itself.

It holds no paths and no times: the same recipe gives the same bytes, and nothing about the disk leaves with an image.
Its numbers are checked here and nowhere else: planner, worker and metadata reader take a `Recipe` as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from indexd_schemas.control_types import CONTROL_TYPES
from indexd_schemas.image_format import PNG, OutputEncoding
from indexd_schemas.jobs.scoring import ScoreName
from indexd_schemas.jobs.stages import HiresRecipe
from indexd_schemas.limits import (
    SIZE_STEP_PX,
    Cfg,
    ClipSkip,
    ConditioningWeight,
    LoraWeight,
    Padding,
    Seed,
    Share,
    Steps,
)
from indexd_schemas.lora_blocks import block_factors
from indexd_schemas.noise import RecipeNoise, TimestepRounding
from indexd_schemas.recipe_part import AnyStageRecipe, FileKey, ModelRef, RecipePart, StageRecipe
from indexd_schemas.samplers import StepCounting

RecipeKind = Literal["txt2img", "img2img", "inpaint", "upscale", "refine"]
FINISHED_IMAGE_KINDS: tuple[RecipeKind, ...] = ("upscale", "refine")
"""The kinds that start from a finished image: no pass precedes their stages."""
PromptSyntax = Literal["a1111", "comfyui", "plain"]
"""How a prompt is read and weighted: as A1111 or ComfyUI does (docs/prompts.md), or word for word."""

StageT = TypeVar("StageT", bound=StageRecipe)


class LoraRef(RecipePart):
    """A LoRA by name with its weight for the UNet and for the text encoders (None = the same).

    `blocks` are factors by block of the model (docs/loras.md), in the spelling of the job; None = 1 everywhere.
    """

    name: str
    weight: LoraWeight = 1.0
    text_weight: LoraWeight | None = None
    hash: str | None = None
    blocks: dict[str, float] | None = None

    @field_validator("blocks")
    @classmethod
    def _known_blocks(cls, blocks: dict[str, float] | None) -> dict[str, float] | None:
        block_factors(blocks or {})
        return blocks


class EmbeddingRef(RecipePart):
    """An embedding that the prompt names; `hash` is the first ten hex digits of its file's SHA-256 (A1111's "TI hashes")."""

    name: str
    hash: str


class InputRef(RecipePart):
    """The source image: blake3 of its bytes in hex, and how far img2img changes it (0 nothing .. 1 everything)."""

    hash: str
    name: str
    denoise: Share = 0.0


class MaskRef(RecipePart):
    """What inpaint renders again: a mask file (blake3 of its bytes in hex), or a box in shares of the upright input.

    `box` None = the region of this kind and number (1 = the largest), which the worker detects and then states.
    """

    hash: str | None = None
    name: str | None = None
    region: str | None = None
    index: int = Field(1, ge=1)
    box: tuple[float, float, float, float] | None = None
    padding: Padding = 0.0
    invert: bool = False
    blur: int = Field(4, ge=0)
    content: Literal["original", "noise", "fill"] = "original"
    only_masked: bool = False
    only_masked_padding: int = Field(32, ge=0)


class ScoreRef(RecipePart):
    """The score of a finished image, and the revision of the model that gave it (None where no model is needed)."""

    value: float
    model: str | None = None


class RecipeVariation(RecipePart):
    """A second noise mixed into the first: its seed, and its share (0 only the first .. 1 only the second)."""

    seed: Seed
    strength: Share


class ControlRef(RecipePart):
    """One ControlNet and its image: blake3 of the image's bytes in hex, and how the map is made of it.

    `map` None = the image is the map already; else the preprocessor ("canny", "depth/<model's hash>"), filled in by the
    worker for preprocessors that are models. `start` and `end` are shares of the model's time steps. `model.hash` is of the ControlNet's file.
    """

    type: str
    model: ModelRef
    image: str
    image_name: str
    strength: ConditioningWeight = 1.0
    start: Share = 0.0
    end: Share = 1.0
    preprocess: bool = True
    low: int | None = None
    high: int | None = None
    map: str | None = None

    @field_validator("type")
    @classmethod
    def _known_type(cls, name: str) -> str:
        if name not in CONTROL_TYPES:
            raise ValueError(f"there is no control type {name!r}; there are {', '.join(CONTROL_TYPES)}")
        return name

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start > self.end:
            raise ValueError(f"start must not lie after end ({self.start:g} and {self.end:g})")
        return self


class ReferenceRef(RecipePart):
    """One image that an IP-Adapter goes by: blake3 of its bytes in hex, the adapter, and its weight."""

    model: ModelRef
    image: str
    image_name: str
    weight: ConditioningWeight = 1.0


class Recipe(RecipePart):
    """Everything that decides the pixels, and their scores. `schedule` None = the sampler's own spacing of sigmas.

    The kinds upscale and refine change a finished image (`input`): `width` and `height` are its own, and `model` is None
    where no stage denoises. `stages` are the render stages in the order in which they run.
    """

    recipe_version: Literal[1] = 1
    kind: RecipeKind
    prompt: str
    negative_prompt: str = ""
    seed: Seed
    variation: RecipeVariation | None = None
    noise: RecipeNoise | None = None  # None = indexd's own
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    steps: Steps
    step_counting: StepCounting = "taken"
    cfg: Cfg
    cfg_rescale: Share = 0.0
    sampler: str
    schedule: str | None = None
    timesteps: TimestepRounding = "interpolated"
    clip_skip: ClipSkip | None = None
    model: ModelRef | None = None
    vae: ModelRef | None = None
    loras: tuple[LoraRef, ...] = ()
    embeddings: tuple[EmbeddingRef, ...] = ()
    prompt_syntax: PromptSyntax = "plain"
    input: InputRef | None = None
    mask: MaskRef | None = None
    control: tuple[ControlRef, ...] = ()
    reference: tuple[ReferenceRef, ...] = ()
    stages: tuple[AnyStageRecipe, ...] = ()
    template: str | None = None  # the name of its file, or the prompt before expansion
    choices: dict[str, str] = Field(default_factory=dict)  # what the template chose, by name
    score: tuple[ScoreName, ...] = ()
    scores: dict[ScoreName, ScoreRef] | None = None
    output: OutputEncoding | None = None  # None = PNG
    family: str | None = None  # of the model ("sdxl"), filled in by the worker; None = whichever the file is
    dtype: str | None = None
    job: str | None = None  # written by early versions, and only read now
    software: str | None = None

    @property
    def starts_finished(self) -> bool:
        """Whether the stages start from a finished image."""
        return self.kind in FINISHED_IMAGE_KINDS

    @model_validator(mode="after")
    def _renderable(self) -> Self:
        # Inpaint pads an image of any size up to the next multiple, and crops it again.
        any_size = self.starts_finished or (self.mask is not None and not self.mask.only_masked)
        if not any_size and (self.width % SIZE_STEP_PX or self.height % SIZE_STEP_PX):
            raise ValueError(f"size {self.width}x{self.height}: both sides must be multiples of {SIZE_STEP_PX}")
        if self.kind != "txt2img" and self.input is None:
            raise ValueError(f"{self.kind} needs a source image, and the recipe names none")
        if self.kind == "inpaint" and self.mask is None:
            raise ValueError("inpaint needs a mask, and the recipe names none")
        if self.kind == "inpaint" and self.stages_of(HiresRecipe):
            raise ValueError("hires: inpaint keeps what lies around its mask, and its latents cannot grow")
        return self

    @property
    def encoding(self) -> OutputEncoding:
        """Format and quality of the saved image."""
        return self.output or PNG

    def stages_of(self, part: type[StageT]) -> tuple[StageT, ...]:
        """The stages whose recipe is a `part`."""
        return tuple(stage for stage in self.stages if isinstance(stage, part))

    def file_keys(self) -> Iterator[FileKey]:
        """Every file that a render of this recipe reads."""
        if self.model is not None:
            yield FileKey("checkpoint", self.model.name)
        if self.vae is not None:
            yield FileKey("vae", self.vae.name)
        yield from (FileKey("lora", lora.name) for lora in self.loras)
        yield from (FileKey("embedding", embedding.name) for embedding in self.embeddings)
        yield from (FileKey("controlnet", control.model.name) for control in self.control)
        yield from (FileKey("ip_adapter", reference.model.name) for reference in self.reference)
        for stage in self.stages:
            yield from stage.file_keys()
        yield from (FileKey("image", content) for content in self.images())

    def images(self) -> dict[str, str]:
        """The images that the recipe goes by: a noun for each, by its content hash."""
        images = {one.image: f"the reference image {one.image_name}" for one in self.reference}
        images |= {one.image: f"the {one.type} image {one.image_name}" for one in self.control}
        if self.mask is not None and self.mask.hash is not None:
            images[self.mask.hash] = f"the mask {self.mask.name}"
        if self.input is not None:
            images[self.input.hash] = f"the image {self.input.name}"
        return images
