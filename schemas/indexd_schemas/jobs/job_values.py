"""Values of the keys of a job: objects such as a LoRA or a ControlNet, and numbers with a shorter form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from indexd_schemas import lora_blocks
from indexd_schemas.control_types import CANNY_HIGH, CANNY_LOW, CONTROL_TYPES, UnknownControlType, find_control_type
from indexd_schemas.image_format import FORMAT_SYNONYMS, ImageFormat, canonical_format
from indexd_schemas.jobs.job_part import JobPart, WorkSize
from indexd_schemas.jobs.shorthand import ListShorthand
from indexd_schemas.limits import (
    MAX_SEED,
    ConditioningWeight,
    LoraWeight,
    Seed,
    Share,
)
from indexd_schemas.noise import MAX_BATCH, BrownianTreeName, NoiseSourceName, check_noise

MAX_IMAGES = 100_000
MAX_GRID_AXES = 3
PRIORITIES: Mapping[str, int] = {"low": -10, "normal": 0, "high": 10}

_RANGE = re.compile(r"\s*(\d+)\s*\.\.\s*(\d+)\s*")


def _parse_blocks(value: Any) -> Any:
    numbers = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(numbers, list) or any(
        isinstance(one, bool) or not isinstance(one, int | float) for one in numbers
    ):
        raise ValueError("must be `block: number` pairs such as {in: 0.5, out4-8: 0}, or a list of 12 or 20 numbers")
    blocks = value if isinstance(value, dict) else lora_blocks.blocks_from_list(numbers)
    lora_blocks.block_factors(blocks)
    return blocks


LoraBlocks = Annotated[
    dict[str, float],
    BeforeValidator(_parse_blocks),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "additionalProperties": {"type": "number", "minimum": -10, "maximum": 10}},
                {"type": "array", "items": {"type": "number", "minimum": -10, "maximum": 10}},
            ]
        }
    ),
]


class JobLora(JobPart):
    """A LoRA from the LoRA folders. A bare name uses weight 1, or the weight in the registry."""

    name: str = Field(min_length=1, max_length=400, description="Name of the LoRA file.", examples=["detail-tweaker"])
    weight: LoraWeight = Field(1.0, description="Weight for the UNet.", examples=[0.8])
    text_weight: LoraWeight | None = Field(
        None, description="Weight for the text encoders. Default: the same as `weight`.", examples=[0.5]
    )
    blocks: LoraBlocks | None = Field(
        None,
        description="Factors by UNet block: base, in0 to in8, mid, out0 to out8, other; or a list (docs/loras.md).",
        examples=[{"in": 0.5, "out4-8": 0}],
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


def _parse_control_type(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return find_control_type(value).name
    except UnknownControlType as error:
        raise ValueError(str(error)) from None


ControlTypeName = Annotated[
    str, BeforeValidator(_parse_control_type), WithJsonSchema({"type": "string", "examples": list(CONTROL_TYPES)})
]


class JobControlNet(JobPart):
    """A ControlNet and its image. A bare text sets the type."""

    type: ControlTypeName = Field(
        description="What the control map shows: canny, depth, pose, lineart, softedge, scribble, tile, … (docs/control.md).",
        examples=["canny"],
    )
    model: str | None = Field(
        None,
        min_length=1,
        max_length=400,
        description="Name of a ControlNet in the control folders. Default: the one that fits the type.",
        examples=["controlnet-canny-sdxl"],
    )
    image: str | None = Field(
        None,
        min_length=1,
        max_length=4000,
        description="Path of the image, absolute or relative to the inbox. Default: the job's input.",
        examples=["pose.png"],
    )
    strength: ConditioningWeight = Field(1.0, description="Strength of the control. 0 = no effect.", examples=[0.8])
    start: Share = Field(
        0.0, description="Start of the control, as a share of the model's time steps (docs/control.md).", examples=[0.1]
    )
    end: Share = Field(
        1.0, description="End of the control, as a share of the model's time steps (docs/control.md).", examples=[0.7]
    )
    preprocess: bool = Field(
        True, description="Compute a control map from the image. false = the image is the map.", examples=[False]
    )
    low: int = Field(CANNY_LOW, ge=0, le=1000, description="Lower threshold of canny.", examples=[80])
    high: int = Field(CANNY_HIGH, ge=0, le=1000, description="Upper threshold of canny.", examples=[160])

    @model_validator(mode="before")
    @classmethod
    def _bare_type(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _ordered(self) -> JobControlNet:
        if self.start > self.end:
            raise ValueError(f"start must not lie after end ({self.start:g} and {self.end:g})")
        if self.low > self.high:
            raise ValueError(f"low must not be above high ({self.low} and {self.high})")
        return self


class JobReference(JobPart):
    """A reference image for an IP-Adapter. A bare text is the path of the image."""

    image: str | None = Field(
        None,
        min_length=1,
        max_length=4000,
        description="Path of the image, absolute or relative to the inbox. Default: the job's input.",
        examples=["style.png"],
    )
    weight: ConditioningWeight = Field(1.0, description="Strength of the reference. 0 = no effect.", examples=[0.6])
    model: str | None = Field(
        None,
        min_length=1,
        max_length=400,
        description="Name of an IP-Adapter in the reference folders. Default: the only one.",
        examples=["ip-adapter_sdxl"],
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_image(cls, value: Any) -> Any:
        return {"image": value} if isinstance(value, str) else value


class JobVariation(JobPart):
    """Mixes a second noise into the first, like A1111's variation seed."""

    seed: int | None = Field(
        None,
        ge=-1,
        le=MAX_SEED,
        description="Seed of the second noise; each further image adds 1. Default or -1: random.",
        examples=[99],
    )
    strength: Share = Field(
        0.1, description="Share of the second noise: 0 = none, 1 = only the second.", examples=[0.2]
    )


class JobNoise(JobPart):
    """Draws the noise as ComfyUI or A1111 does, so that their seeds give their images. A bare text is the source."""

    source: NoiseSourceName = Field(
        description="Whose random numbers: indexd, comfyui and a1111 (as on an NVIDIA GPU), comfyui_cpu, a1111_cpu.",
        examples=["a1111"],
    )
    seed_delta: int = Field(
        0,
        ge=-MAX_SEED,
        le=MAX_SEED,
        description="A1111's ENSD: added to the seed for the noise of ancestral samplers.",
        examples=[31337],
    )
    resize_from: WorkSize | None = Field(
        None,
        description='A1111\'s "Seed resize from": width x height whose noise lies in the middle.',
        examples=["512x512"],
    )
    batch_size: int = Field(
        1, ge=1, le=MAX_BATCH, description="ComfyUI: how many images the seed made in one batch.", examples=[4]
    )
    batch_index: int = Field(0, ge=0, description="ComfyUI: place of the image in the batch, from 0.", examples=[2])
    brownian: BrownianTreeName | None = Field(
        None,
        description="Noise of SDE samplers: torchsde's tree on a cpu or gpu, or indexd's path. Default: as in the program.",
        examples=["gpu"],
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_source(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> JobNoise:
        check_noise(self.source, self.seed_delta, self.resize_from, (self.batch_size, self.batch_index), self.brownian)
        return self


FormatName = Annotated[
    ImageFormat, BeforeValidator(canonical_format), WithJsonSchema({"enum": [*get_args(ImageFormat), *FORMAT_SYNONYMS]})
]


def _parse_quality(value: Any) -> Any:
    if value != "lossless" and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100):
        raise ValueError("must be a number from 1 to 100, or lossless")
    return value


OutputQuality = Annotated[
    int | Literal["lossless"],
    BeforeValidator(_parse_quality),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 100}, {"enum": ["lossless"]}]}),
]


class JobOutput(JobPart):
    """Where and how images are saved. A bare text is the folder."""

    folder: str = Field(
        "",
        max_length=1000,
        description="Folder, relative to the output folder of the settings, or absolute. The folder or its parent must exist.",
        examples=["portraits/june"],
    )
    name: str = Field(
        "",
        max_length=400,
        description="File name without extension; may contain {name} {index} {seed} {date} {time} {kind} {model} {prompt}"
        " and, with a template, names of its choices.",
        examples=["{name}-{seed}"],
    )

    format: FormatName | None = Field(
        None,
        description="File format: png, jpeg, webp or avif. Default: [generate] output_format.",
        examples=["webp"],
    )
    quality: OutputQuality | None = Field(
        None,
        description="Quality of jpeg, webp and avif: 1 to 100, or lossless (webp). Default: 92, 90 and 80.",
        examples=[85],
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_folder(cls, value: Any) -> Any:
        return {"folder": value} if isinstance(value, str) else value


def _parse_seeds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = _RANGE.fullmatch(value)
    if match is None:
        raise ValueError("must be a list of seeds or a range such as 100..119")
    first, last = (int(number) for number in match.groups())
    if last < first:
        raise ValueError(f"the range {value!r} runs backwards; write {last}..{first}")
    if last - first >= MAX_IMAGES:
        raise ValueError(f"the range has {last - first + 1} seeds; at most {MAX_IMAGES} are possible")
    return list(range(first, last + 1))


def _parse_priority(value: Any) -> Any:
    if isinstance(value, str):
        if value not in PRIORITIES:
            raise ValueError("must be low, normal, high or a whole number from -100 to 100")
        return PRIORITIES[value]
    return value


Seeds = Annotated[
    list[Seed],
    BeforeValidator(_parse_seeds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": MAX_SEED}, "minItems": 1},
                {"type": "string", "pattern": r"^\s*\d+\s*\.\.\s*\d+\s*$"},
            ]
        }
    ),
]
PriorityNumber = Annotated[
    int,
    BeforeValidator(_parse_priority),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": -100, "maximum": 100}, {"enum": sorted(PRIORITIES)}], "default": 0}
    ),
]
JobLoras = Annotated[list[JobLora], ListShorthand(JobLora, {"type": "string"}, max_items=50)]
JobControlNets = Annotated[list[JobControlNet], ListShorthand(JobControlNet, {"type": "string"}, max_items=10)]
JobReferences = Annotated[list[JobReference], ListShorthand(JobReference, {"type": "string"}, max_items=10)]


class SearchReplace(JobPart):
    """Search and replace in the text of a key."""

    search: str = Field(min_length=1, description="A part of the text.", examples=["fox"])
    replace: list[str] = Field(min_length=1, description="What replaces it, one value each.", examples=[["fox", "owl"]])


Grid = Annotated[dict[str, list[Any] | SearchReplace], Field(min_length=1, max_length=MAX_GRID_AXES)]
