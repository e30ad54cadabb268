"""The render stages (docs/stages.md): for each its options in a job file (`Hires`) and its recipe (`HiresRecipe`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from indexd_schemas.jobs.job_part import JobPart, Size, WorkSize
from indexd_schemas.jobs.shorthand import TEXT_SCHEMA, ListShorthand, Shorthand
from indexd_schemas.limits import (
    MIN_SIDE_PX,
    PROMPT_CHARACTERS,
    SIZE_STEP_PX,
    Cfg,
    Confidence,
    DetailSide,
    EnlargeFactor,
    Padding,
    RefineOverlap,
    RefineTile,
    Share,
    Steps,
    UpscalerOverlap,
    UpscalerTile,
)
from indexd_schemas.recipe_part import FileKey, ModelRef, PassRecipe, StageRecipe, StageRecipes

MAX_DETAILS = 20
MAX_TILE_PROMPTS = 4096

HIRES_UPSCALERS = (
    "latent",
    "latent_antialiased",
    "latent_bicubic",
    "latent_bicubic_antialiased",
    "latent_nearest",
    "latent_nearest_exact",
    "latent_area",
    "nearest",
    "area",
    "bilinear",
    "bicubic",
    "lanczos",
)
"""Upscalers without a model: latent ones as in A1111 and ComfyUI, or pixel filters."""


class PassOptions(JobPart):
    """Options of stages that denoise. Default: the values of the image."""

    prompt: str | None = Field(
        None,
        max_length=PROMPT_CHARACTERS,
        description="Prompt of this stage. Default: the image's.",
        examples=["detailed skin, sharp eyes"],
    )
    negative_prompt: str | None = Field(
        None,
        max_length=PROMPT_CHARACTERS,
        description="Negative prompt of this stage. Default: the image's.",
        examples=["blurry"],
    )
    steps: Steps | None = Field(
        None,
        description="Steps of this stage; all of them run. Default: the image's.",
        examples=[20],
    )
    cfg: Cfg | None = Field(None, description="Guidance scale of this stage. Default: the image's.", examples=[5.0])
    sampler: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Sampler of this stage. Default: the image's.",
        examples=["DPM++ 2M"],
    )
    schedule: str | None = Field(
        None, min_length=1, max_length=100, description="Schedule of this stage's sampler.", examples=["karras"]
    )


class Hires(PassOptions):
    """Second pass at a larger size: enlarges latents or pixels, and denoises them again."""

    scale: float | None = Field(None, gt=1, le=8, description="Scale factor. Default: 2, or `size`.", examples=[1.5])
    size: WorkSize | None = Field(None, description="Width x height, instead of `scale`.", examples=["1536x1536"])
    upscaler: str = Field(
        "latent",
        min_length=1,
        max_length=400,
        description="latent, latent_bicubic, …, nearest, lanczos, … (docs/stages.md), or the name of an upscaler model.",
        examples=["latent_bicubic", "4x-UltraSharp"],
    )
    tile: UpscalerTile = Field(
        512,
        description="Tile side of an upscaler model in pixels, before enlarging.",
        examples=[512],
    )
    overlap: UpscalerOverlap = Field(
        64, description="Overlap of these tiles in pixels; at most half a tile.", examples=[64]
    )
    denoise: Share = Field(
        0.7,
        description="How much the enlarged image changes. Latent upscalers need 0.5 or more.",
        examples=[0.5],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_overlap(self.tile, self.overlap)
        if self.size is not None and self.scale is not None:
            raise ValueError("has `size` and `scale`; keep one of the two")
        return self


@StageRecipes.register
class HiresRecipe(PassRecipe):
    """The second pass. Either `upscaler`, one of HIRES_UPSCALERS, enlarges, or `model`, a file, does it in tiles.

    The worker states `tile_used` where memory allowed only smaller tiles.
    """

    stage: Literal["hires"] = "hires"
    width: int = Field(ge=MIN_SIDE_PX, multiple_of=SIZE_STEP_PX)
    height: int = Field(ge=MIN_SIDE_PX, multiple_of=SIZE_STEP_PX)
    upscaler: str | None = None
    model: ModelRef | None = None
    tile: UpscalerTile = 512
    overlap: UpscalerOverlap = 64
    tile_used: int | None = None

    def file_keys(self) -> Iterator[FileKey]:
        """The upscaler, where one is named."""
        if self.model is not None:
            yield FileKey("upscaler", self.model.name)


class Upscale(JobPart):
    """Enlarges the finished image with a model, in tiles. A bare text names the model."""

    model: str = Field(
        min_length=1,
        max_length=400,
        description="Name of an upscaler model in the upscaler folders.",
        examples=["4x-UltraSharp"],
    )
    scale: EnlargeFactor | None = Field(
        None,
        description="Final scale factor. Default: the factor of the model.",
        examples=[2.0],
    )
    tile: UpscalerTile = Field(512, description="Tile side in pixels, before enlarging.", examples=[512])
    overlap: UpscalerOverlap = Field(
        64, description="Overlap of neighbouring tiles in pixels; at most half a tile.", examples=[64]
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        _check_overlap(self.tile, self.overlap)
        return self


@StageRecipes.register
class UpscaleRecipe(StageRecipe):
    """A model that enlarges in tiles. `scale` None = the model's own factor.

    The worker states `tile_used` where memory allowed only smaller tiles.
    """

    stage: Literal["upscale"] = "upscale"
    model: ModelRef
    scale: EnlargeFactor | None = None
    tile: UpscalerTile
    overlap: UpscalerOverlap
    tile_used: int | None = None

    def file_keys(self) -> Iterator[FileKey]:
        """The upscaler."""
        yield FileKey("upscaler", self.model.name)


class Detail(PassOptions):
    """Renders detected regions (faces, hands, persons) again at a higher resolution. A bare text names the detector."""

    detector: str = Field(
        min_length=1,
        max_length=400,
        description="File name of a detector: one of [faces], or of the detector folders.",
        examples=["face_yolov8n"],
    )
    kinds: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(
        default_factory=list, max_length=50, description="Classes to use. Default: all.", examples=[["face"]]
    )
    confidence: Confidence = Field(0.4, description="Minimum confidence of a detection.", examples=[0.5])
    max: int = Field(10, ge=1, le=100, description="Maximum number of regions, in order of confidence.", examples=[1])
    denoise: float = Field(0.4, gt=0, le=1, description="How much a region changes.", examples=[0.4])
    padding: Padding = Field(
        0.5, description="Context around the region, as a share of its longer side.", examples=[0.5]
    )
    size: DetailSide = Field(1024, description="Longer side of the rendered region in pixels.", examples=[768])
    feather: Share = Field(0.1, description="Width of the blended edge, as a share of the longer side.", examples=[0.1])

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"detector": value} if isinstance(value, str) else value


@StageRecipes.register
class DetailRecipe(PassRecipe):
    """One detector and how its finds are rendered again; shares as in a job file."""

    stage: Literal["detail"] = "detail"
    detector: ModelRef
    kinds: tuple[str, ...] = ()
    confidence: Confidence
    max: int = Field(ge=1, le=100)
    padding: Padding
    size: DetailSide
    feather: Share

    def file_keys(self) -> Iterator[FileKey]:
        """The detector."""
        yield FileKey("detector", self.detector.name)


class Refine(PassOptions):
    """Denoises the finished image again in overlapping tiles. Adds detail at sizes beyond the model's training."""

    denoise: Share = Field(0.3, description="How much the image changes. 0 changes no pixel.", examples=[0.3])
    tile: RefineTile = Field(1024, description="Tile side in pixels.", examples=[1024])
    overlap: RefineOverlap = Field(
        256,
        description="Minimum overlap of neighbouring tiles in pixels; at most half a tile.",
        examples=[256],
    )
    prompts: list[Annotated[str, Field(max_length=PROMPT_CHARACTERS)]] | None = Field(
        None,
        min_length=1,
        max_length=MAX_TILE_PROMPTS,
        description="One prompt for each tile instead of `prompt`: row by row, from the left.",
        examples=[["sky", "sky with a bird", "sea", "sea with a boat"]],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_overlap(self.tile, self.overlap)
        if self.prompt is not None and self.prompts is not None:
            raise ValueError("has `prompt` and `prompts`; keep one of the two")
        return self


@StageRecipes.register
class RefineRecipe(PassRecipe):
    """Another pass over the finished image in tiles; `prompts` are one a tile, row by row."""

    stage: Literal["refine"] = "refine"
    tile: RefineTile
    overlap: RefineOverlap
    prompts: tuple[str, ...] | None = None


class Resize(JobPart):
    """Last stage: resizes the image by Lanczos."""

    size: Size | None = Field(None, description="Width x height. The aspect ratio may change.", examples=["3840x2160"])
    scale: EnlargeFactor | None = Field(None, description="Scale factor.", examples=[0.5])
    max_side: int | None = Field(
        None,
        ge=8,
        le=65_535,
        description="Length of the longer side in pixels. Keeps the aspect ratio.",
        examples=[3840],
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(value is not None for value in (self.size, self.scale, self.max_side)) != 1:
            raise ValueError("needs exactly one of size, scale and max_side")
        return self


@StageRecipes.register
class ResizeRecipe(StageRecipe):
    """The last size: two sides, a factor, or the longer side."""

    stage: Literal["resize"] = "resize"
    width: int | None = Field(None, ge=1)
    height: int | None = Field(None, ge=1)
    scale: EnlargeFactor | None = None
    max_side: int | None = Field(None, ge=1)


def _check_overlap(tile: int, overlap: int) -> None:
    if overlap * 2 > tile:
        raise ValueError(f"overlap must be at most half a tile: {tile // 2} (got {overlap})")


UpscaleOrName = Annotated[Upscale, Shorthand(Upscale, TEXT_SCHEMA)]
DetailList = Annotated[list[Detail], ListShorthand(Detail, TEXT_SCHEMA, max_items=MAX_DETAILS)]


class Stages(JobPart):
    """The optional render stages of every kind of job, in the order in which they run."""

    hires: Hires | None = Field(None, description=Hires.__doc__, examples=[{"scale": 1.5, "upscaler": "latent"}])
    detail: DetailList = Field(
        default_factory=list,
        max_length=MAX_DETAILS,
        description="Detectors whose regions are rendered again at a higher resolution, one detector after the other.",
        examples=[[{"detector": "face_yolov8n", "denoise": 0.4}]],
    )
    upscale: UpscaleOrName | None = Field(None, description=Upscale.__doc__, examples=["4x-UltraSharp"])
    refine: Refine | None = Field(None, description=Refine.__doc__, examples=[{"denoise": 0.25}])
    resize: Resize | None = Field(None, description=Resize.__doc__, examples=[{"max_side": 3840}])
