"""Job files (YAML) as typed models: every key with its description and an example.

One model a kind; all share `Job`. The models check single keys. Admission checks what depends on model files, on
other keys or on the settings: whether a LoRA exists, whether the image is too large.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from indexd_schemas import lora_blocks
from indexd_schemas.control_types import CANNY_HIGH, CANNY_LOW, CONTROL_TYPES, UnknownControlType, find_control_type
from indexd_schemas.image_format import FORMAT_SYNONYMS, ImageFormat, canonical_format
from indexd_schemas.jobs.input_selection import Input
from indexd_schemas.jobs.job_part import JobPart, WorkSize
from indexd_schemas.jobs.mask import MaskedContent, MaskField
from indexd_schemas.jobs.scoring import Keep, ScoreName
from indexd_schemas.jobs.shorthand import ListShorthand
from indexd_schemas.jobs.stages import Refine, Stages, UpscaleOrName
from indexd_schemas.jobs.template import JobTemplate
from indexd_schemas.limits import (
    MAX_SEED,
    PROMPT_CHARACTERS,
    Cfg,
    ClipSkip,
    ConditioningWeight,
    LoraWeight,
    Seed,
    Share,
    Side,
    Steps,
)
from indexd_schemas.noise import MAX_BATCH, BrownianTreeName, NoiseSourceName, TimestepRounding, check_noise
from indexd_schemas.samplers import StepCounting

MAX_IMAGES = 100_000
JobPromptSyntax = Literal["a1111", "comfyui", "plain", "dynamic"]
"""Those of a recipe, and the template syntax, which admission expands."""
GRID_KEY = "grid"
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


class RenderOptions(JobPart):
    """Keys of every kind of render: prompt, sampling, models and scores."""

    kind: str = Field(description="The kind of job.", examples=["txt2img"])
    prompt: str = Field(
        max_length=PROMPT_CHARACTERS,
        description="What the image shows. Any length, in A1111's syntax such as `(word:1.2)` (docs/prompts.md).",
        examples=["a lighthouse at dusk, oil painting"],
    )
    negative_prompt: str = Field(
        "", max_length=PROMPT_CHARACTERS, description="What the image must not show.", examples=["blurry, text"]
    )
    prompt_syntax: JobPromptSyntax = Field(
        "a1111",
        description="Prompt syntax: a1111 = weights, switches, AND, BREAK, <lora:…>; comfyui = ComfyUI's weights; "
        "plain = literal text; dynamic = a1111 with `template:` on.",
        examples=["plain", "comfyui", "dynamic"],
    )
    template: JobTemplate | None = Field(
        None,
        description="Expand template syntax in the prompts: one image for each combination (docs/templates.md).",
        examples=[{"order": "random", "seed": 7}],
    )
    seed: int | None = Field(
        None,
        ge=-1,
        le=MAX_SEED,
        description="Seed of the first image; each further image adds 1. Default or -1: random.",
        examples=[1234],
    )
    seeds: Seeds | None = Field(
        None, description="One image for each of these seeds: a list or a range.", examples=["100..119", [1, 5, 9]]
    )
    variation: JobVariation | None = Field(
        None,
        description="Variations of one image: the seed stays, and a second noise is mixed in.",
        examples=[{"seed": 99, "strength": 0.2}],
    )
    noise: JobNoise | None = Field(
        None,
        description="Draw the noise as another program does (docs/samplers.md). Default: indexd's own noise.",
        examples=["comfyui", {"source": "a1111", "seed_delta": 31337}],
    )
    count: int | None = Field(
        None, ge=1, le=MAX_IMAGES, description="Number of images. Default: 1, or one for each seed.", examples=[4]
    )
    width: Side | None = Field(None, description="Width in pixels.", examples=[832])
    height: Side | None = Field(None, description="Height in pixels.", examples=[1216])
    size: WorkSize | None = Field(
        None, description="Width x height, instead of `width` and `height`.", examples=["832x1216"]
    )
    steps: Steps = Field(30, description="Denoising steps.", examples=[30])
    step_counting: StepCounting = Field(
        "taken",
        description="`steps` in img2img and inpaint: taken = all run; a1111_img2img = about steps * denoise run, as in A1111.",
        examples=["a1111_img2img"],
    )
    cfg: Cfg = Field(7.0, description="Guidance scale: how strictly the image follows the prompt.", examples=[6.5])
    cfg_rescale: Share = Field(
        0.0,
        description="Share of the contrast added by cfg that is removed again (about 0.7 for v-prediction models).",
        examples=[0.7],
    )
    sampler: str = Field(
        "dpmpp_2m",
        min_length=1,
        max_length=100,
        description="Sampler, by its name in A1111 or ComfyUI.",
        examples=["DPM++ 2M", "euler_ancestral"],
    )
    schedule: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Spacing of the noise levels. Default: the sampler's own, or karras if the job names no sampler either.",
        examples=["karras"],
    )
    timesteps: TimestepRounding = Field(
        "interpolated",
        description="Time steps between trained noise levels: interpolated (A1111, diffusers) or rounded (ComfyUI).",
        examples=["rounded"],
    )
    clip_skip: ClipSkip | None = Field(
        None, description="Skipped layers of the text encoders, counted as in A1111.", examples=[2]
    )
    model: str | None = Field(
        None,
        min_length=1,
        max_length=400,
        description="Name of a checkpoint in the checkpoint folders. Default: the one of [models.generator].",
        examples=["juggernautXL_v9"],
    )
    vae: str | None = Field(
        None,
        min_length=1,
        max_length=400,
        description="Name of a VAE in the VAE folders. Default: the checkpoint's own.",
        examples=["sdxl_vae"],
    )
    loras: JobLoras = Field(
        default_factory=list,
        max_length=50,
        description="LoRAs: names, or objects with name, weight and text_weight.",
        examples=[["film-grain", {"name": "detail-tweaker", "weight": 0.6}]],
    )
    lora_triggers: bool = Field(
        True,
        description="Add missing trigger words of the LoRAs, as listed in the registry, before the prompt.",
        examples=[False],
    )
    themes: list[str] = Field(
        default_factory=list,
        max_length=50,
        description="Themes of the image. indexd refuses a LoRA whose registry entry does not fit them.",
        examples=[["noir"]],
    )
    control: JobControlNets = Field(
        default_factory=list,
        max_length=10,
        description="ControlNets with their images. Several can be combined.",
        examples=[[{"type": "canny", "image": "house.png", "strength": 0.8}]],
    )
    reference: JobReferences = Field(
        default_factory=list,
        max_length=10,
        description="Reference images for IP-Adapters, with weights.",
        examples=[[{"image": "style.png", "weight": 0.6}]],
    )
    score: list[ScoreName] = Field(
        default_factory=list,
        max_length=3,
        description="Scores to compute: clip (similarity to the prompt), aesthetic (needs [score] aesthetic), sharpness.",
        examples=[["clip", "sharpness"]],
    )
    grid: Grid | None = Field(
        None,
        description="One image for each combination of values: up to three keys with lists, or search and replace (docs/jobs.md).",
        examples=[{"cfg": [4, 7], "prompt": {"search": "fox", "replace": ["fox", "owl"]}}],
    )
    keep: Keep | None = Field(
        None,
        description="Which images to keep, by score. indexd moves the others to `rejected/` and deletes none.",
        examples=[{"top": "10%"}],
    )


class JobBase(JobPart):
    """Keys of every kind of job."""

    kind: str = Field(description="The kind of job.", examples=["txt2img"])
    output: JobOutput = Field(
        default_factory=JobOutput,
        description="Where images are saved, their names and their format.",
        examples=[{"folder": "june"}],
    )
    priority: PriorityNumber = Field(
        0, ge=-100, le=100, description="low, normal, high or a number. Higher runs first.", examples=["high", 5]
    )


class Job(JobBase, Stages, RenderOptions):
    """Keys of every kind of job that renders images."""


class Txt2ImgJob(Job):
    """Renders images from a prompt."""

    kind: Literal["txt2img"] = Field(description="Renders images from a prompt.", examples=["txt2img"])


class Img2ImgJob(Job):
    """Renders images from a prompt and input images: one for each input and seed."""

    kind: Literal["img2img"] = Field(description="Renders images from a prompt and input images.", examples=["img2img"])
    input: Input = Field(
        description="Input images: a path, a list of paths, {folder: …}, {query: …}, {similar: …} or {character: …}.",
        examples=["sketch.png", {"query": "rating:5 model:pony", "count": 20}],
    )
    denoise: float = Field(
        0.5,
        gt=0,
        le=1,
        description="How much of the input changes: near 0 = hardly anything, 1 = everything.",
        examples=[0.5],
    )


class InpaintJob(Job):
    """Renders one part of an image again. Pixels outside the mask do not change."""

    kind: Literal["inpaint"] = Field(description="Renders parts of images again.", examples=["inpaint"])
    input: Input = Field(
        description="Input images: a path, a list of paths, {folder: …}, {query: …}, {similar: …} or {character: …}.",
        examples=["portrait.png"],
    )
    mask: MaskField = Field(
        description="The part to render: a mask file (white), {region: face} or {box: [left, top, width, height]}.",
        examples=["mask.png", {"region": "face", "padding": 0.2}],
    )
    mask_blur: int = Field(
        4, ge=0, le=256, description="Blur radius of the mask edge, in pixels of the input.", examples=[8]
    )
    masked_content: MaskedContent = Field(
        "original",
        description="Initial content under the mask: the original, noise, or colours from around it (fill).",
        examples=["fill"],
    )
    only_masked: bool = Field(
        False,
        description="Render only the masked part, at width x height (1024x1024), and scale it back.",
        examples=[True],
    )
    only_masked_padding: int = Field(
        32,
        ge=0,
        le=1024,
        description="With only_masked: context around the mask, in pixels of the input.",
        examples=[64],
    )
    denoise: float = Field(
        0.75,
        gt=0,
        le=1,
        description="How much of the masked part changes: near 0 = hardly anything, 1 = everything.",
        examples=[0.75],
    )


class RegenerateJob(Job):
    """Renders images again from their own metadata, with changes. Accepts every key of the image's own kind."""

    kind: Literal["regenerate"] = Field(description="Renders images again, with changes.", examples=["regenerate"])
    prompt: str = Field(
        "",
        max_length=PROMPT_CHARACTERS,
        description="What the image shows. Default: the image's own prompt.",
        examples=["a lighthouse at dawn"],
    )
    input: Input = Field(
        description="Images to render again: a path, a list of paths, {folder: …}, {query: …}, {similar: …} or {character: …}.",
        examples=["old.png", {"query": "rating:5 steps:..25"}],
    )
    denoise: float | None = Field(
        None,
        gt=0,
        le=1,
        description="How much of the image's own input changes. Default: the image's own value.",
        examples=[0.5],
    )


class _FinishedImageJob(Job):
    """Keys of the kinds that change finished images. An image keeps its size until a stage changes it."""

    prompt: str = Field(
        "",
        max_length=PROMPT_CHARACTERS,
        description="What the image shows; for stages that denoise.",
        examples=["a lake"],
    )
    input: Input = Field(
        description="Input images: a path, a list of paths, {folder: …}, {query: …}, {similar: …} or {character: …}.",
        examples=["lake.png", {"folder": "lakes"}],
    )


class UpscaleJob(_FinishedImageJob):
    """Enlarges finished images with a model. A job may add other stages."""

    kind: Literal["upscale"] = Field(description="Enlarges finished images.", examples=["upscale"])
    upscale: UpscaleOrName = Field(
        description="Name of the model, or an object with model, scale, tile and overlap.", examples=["4x-UltraSharp"]
    )


class RefineJob(_FinishedImageJob):
    """Denoises finished images again in tiles. A job may add other stages."""

    kind: Literal["refine"] = Field(description="Refines finished images in tiles.", examples=["refine"])
    refine: Refine = Field(description=Refine.__doc__, examples=[{"denoise": 0.25}])


JOB_KINDS: Mapping[str, type[Job]] = {
    "txt2img": Txt2ImgJob,
    "img2img": Img2ImgJob,
    "inpaint": InpaintJob,
    "upscale": UpscaleJob,
    "refine": RefineJob,
    "regenerate": RegenerateJob,
}
"""The built-in kinds. Handlers of other packages register theirs."""

SYNONYMS: Mapping[str, str] = {
    "negative": "negative_prompt",
    "cfg_scale": "cfg",
    "guidance_scale": "cfg",
    "guidance": "cfg",
    "guidance_rescale": "cfg_rescale",
    "rescale_cfg": "cfg_rescale",
    "vae_name": "vae",
    "variation_seed": "variation",
    "subseed": "variation",
    "subseed_strength": "variation",
    "sampler_name": "sampler",
    "scheduler": "schedule",
    "checkpoint": "model",
    "denoising_strength": "denoise",
    "strength": "denoise",
    "batch_size": "count",
    "batch_count": "count",
    "n_iter": "count",
    "num_images": "count",
    "num_inference_steps": "steps",
    "image": "input",
    "init_image": "input",
    "inputs": "input",
    "images": "input",
    "mask_image": "mask",
    "inpainting_fill": "masked_content",
    "inpaint_full_res": "only_masked",
    "inpaint_only_masked": "only_masked",
    "inpaint_full_res_padding": "only_masked_padding",
    "scores": "score",
    "templates": "template",
    "wildcards": "template",
    "max_images": "count",
    "lora": "loras",
    "resolution": "size",
    "strength_clip": "text_weight",
    "strength_model": "weight",
    "file": "name",
    "filename": "name",
    "path": "folder",
    "type": "kind",
    "controlnet": "control",
    "controlnets": "control",
    "controls": "control",
    "ip_adapter": "reference",
    "ipadapter": "reference",
    "references": "reference",
    "module": "type",
    "preprocessor": "type",
    "guidance_start": "start",
    "guidance_end": "end",
    "hires_fix": "hires",
    "hr_upscaler": "upscaler",
    "upscale_by": "scale",
    "adetailer": "detail",
    "face_detailer": "detail",
    "upscale_model": "model",
    "tile_size": "tile",
}
"""Keys of other programs -> our keys, for suggestions."""
