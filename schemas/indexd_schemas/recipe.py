"""The base of recipe records, and a model file by name."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from indexd_schemas.contract import Contract
from indexd_schemas.jobs.scoring import ScoreName


class RecipePart(Contract):
    """Base of recipe records: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRef(RecipePart):
    """A model file by name; `hash` is the first ten hex digits of its SHA-256 (A1111's "Model hash"), filled in by the worker."""

    name: str
    hash: str | None = None


# The stages of a render as a recipe records them: every choice made, names of files with their hashes, no paths. A field that is None was left to the picture's own (prompt, steps, …). Hashes and what memory allowed (`tile_used`) are filled in by the worker.


class PassRecipe(RecipePart):
    """What a stage that denoises has of its own."""

    denoise: float
    prompt: str | None = None
    negative_prompt: str | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None


class HiresRecipe(PassRecipe):
    """The second pass, its size in pixels. `upscaler` is one of HIRES_UPSCALERS, or `model` names a file that works in tiles."""

    width: int
    height: int
    upscaler: str | None = None
    model: ModelRef | None = None
    tile: int = 512
    overlap: int = 64
    tile_used: int | None = None


class DetailRecipe(PassRecipe):
    """One detector and what is done with its finds (shares as in a job file)."""

    detector: ModelRef
    kinds: tuple[str, ...] = ()
    confidence: float
    max: int
    padding: float
    size: int
    feather: float


class UpscaleRecipe(RecipePart):
    """A model that enlarges in tiles. `scale` None = the model's own; `tile_used` is smaller than `tile` where memory was short."""

    model: ModelRef
    scale: float | None = None
    tile: int
    overlap: int
    tile_used: int | None = None


class RefineRecipe(PassRecipe):
    """Another pass over the finished picture in tiles; `prompts` are one a tile, row by row."""

    tile: int
    overlap: int
    prompts: tuple[str, ...] | None = None


class ResizeRecipe(RecipePart):
    """The last size: sides, a factor, or the longer side; one of the three."""

    width: int | None = None
    height: int | None = None
    scale: float | None = None
    max_side: int | None = None


# The whole recipe of a picture: what is stored with each item of a job and written into the picture itself. No paths and no times: the same recipe gives the same bytes, and nothing about the maker's disk leaves with a picture.

RecipeKind = Literal["txt2img", "img2img", "inpaint", "upscale", "refine"]
PromptSyntax = Literal["a1111", "plain"]
"""How a prompt is read: with the brackets of A1111 (docs/prompts.md), or as it stands."""


class LoraRef(RecipePart):
    """A LoRA by name with its weight for the UNet and for the text encoders (None = the same).

    `blocks` are factors by block of the model (docs/loras.md), in the spelling of the job; None = 1 everywhere.
    """

    name: str
    weight: float = 1.0
    text_weight: float | None = None
    hash: str | None = None
    blocks: dict[str, float] | None = None


class EmbeddingRef(RecipePart):
    """An embedding that the prompt names; `hash` is the first ten hex digits of its file's SHA-256 (A1111's "TI hashes")."""

    name: str
    hash: str


class InputRef(RecipePart):
    """The source picture: blake3 of its bytes in hex, and how far img2img changes it (0 nothing .. 1 everything)."""

    hash: str
    name: str
    denoise: float = 0.0


class MaskRef(RecipePart):
    """What inpaint made anew: a mask file (blake3 of its bytes in hex), or a box in shares of the upright input.

    `box` None = the region of this kind and number (1 = the largest), which the worker finds and then states.
    """

    hash: str | None = None
    name: str | None = None
    region: str | None = None
    index: int = 1
    box: tuple[float, float, float, float] | None = None
    padding: float = 0.0
    invert: bool = False
    blur: int = 4
    content: Literal["original", "noise", "fill"] = "original"
    only_masked: bool = False
    only_masked_padding: int = 32


class ScoreRef(RecipePart):
    """A finished picture's score, and what gave it (the revision of a model; nothing for what needs none)."""

    value: float
    model: str | None = None


class RecipeVariation(RecipePart):
    """A second noise mixed into the first: its seed, and its share (0 only the first .. 1 only the second)."""

    seed: int = Field(ge=0, lt=2**64)
    strength: float


class ControlRef(RecipePart):
    """One ControlNet and its picture: blake3 of the picture's bytes in hex, and how the map is made of it.

    `map` None = the picture is the map already; else what made it ("canny", "depth/<model's hash>"), filled in by the
    worker for makers that are models. `start` and `end` are shares of the steps. `model.hash` is of the ControlNet's file.
    """

    type: str
    model: ModelRef
    image: str
    image_name: str
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    preprocess: bool = True
    low: int | None = None
    high: int | None = None
    map: str | None = None


class ReferenceRef(RecipePart):
    """One picture that an IP-Adapter goes by: blake3 of its bytes in hex, the adapter, and its weight."""

    model: ModelRef
    image: str
    image_name: str
    weight: float = 1.0


class Recipe(RecipePart):
    """Everything that decides the pixels, and their scores. `schedule` None = the sampler's own spacing of sigmas.

    The kinds upscale and refine change a finished picture (`input`): `width` and `height` are its own, and `model` is None
    where no stage denoises. `hires` to `resize` are the stages that are on, in their order.
    """

    recipe_version: Literal[1] = 1
    kind: RecipeKind
    prompt: str
    negative_prompt: str = ""
    seed: int = Field(ge=0, lt=2**64)
    variation: RecipeVariation | None = None
    width: int
    height: int
    steps: int
    cfg: float
    cfg_rescale: float = 0.0
    sampler: str
    schedule: str | None = None
    clip_skip: int | None = None
    model: ModelRef | None = None
    vae: ModelRef | None = None
    loras: tuple[LoraRef, ...] = ()
    embeddings: tuple[EmbeddingRef, ...] = ()
    prompt_syntax: PromptSyntax = "plain"  # what pictures were made with before there was a choice
    input: InputRef | None = None
    mask: MaskRef | None = None
    control: tuple[ControlRef, ...] = ()
    reference: tuple[ReferenceRef, ...] = ()
    hires: HiresRecipe | None = None
    detail: tuple[DetailRecipe, ...] = ()
    upscale: UpscaleRecipe | None = None
    refine: RefineRecipe | None = None
    resize: ResizeRecipe | None = None
    score: tuple[ScoreName, ...] = ()
    scores: dict[ScoreName, ScoreRef] | None = None  # what the pixels got, filled in by the worker
    dtype: str | None = None
    job: str | None = None
    software: str | None = None
