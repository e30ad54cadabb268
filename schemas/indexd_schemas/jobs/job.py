"""Job files (YAML) as typed models: every key with its description and an example.

One model a kind; all share `Job`. Checks of one key stand here. What needs the models on disk, the other keys or the
settings (does this LoRA exist, is the picture too large) is checked at admission.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from indexd_schemas import lora_blocks
from indexd_schemas.control_types import CANNY_HIGH, CANNY_LOW, CONTROL_TYPES, UnknownControlType, find_control_type
from indexd_schemas.jobs.input_selection import Input
from indexd_schemas.jobs.job_part import JobPart, Size
from indexd_schemas.jobs.mask import MaskedContent, MaskField
from indexd_schemas.jobs.scoring import Keep, ScoreName
from indexd_schemas.jobs.shorthand import ListShorthand
from indexd_schemas.jobs.stages import PROMPT_CHARACTERS, Refine, Stages, UpscaleOrName
from indexd_schemas.recipe import PromptSyntax

MAX_SEED = 2**64 - 1
MAX_IMAGES = 100_000
MAX_SIDE_PX = 16_384
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
    """A LoRA by its name in the LoRA folders; a bare name means weight 1, or the registry's."""

    name: str = Field(min_length=1, max_length=400, description="Name of the LoRA file.", examples=["detail-tweaker"])
    weight: float = Field(1.0, ge=-10, le=10, description="Weight for the picture model.", examples=[0.8])
    text_weight: float | None = Field(
        None, ge=-10, le=10, description="Weight for the text encoders; left out = the same as weight.", examples=[0.5]
    )
    blocks: LoraBlocks | None = Field(
        None,
        description="Factors by block of the model: base, in0 to in8, mid, out0 to out8, other; or a list (docs/loras.md).",
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
    """One ControlNet and the picture that it goes by; a bare text means the type."""

    type: ControlTypeName = Field(
        description="What the picture says: canny, depth, pose, lineart, softedge, scribble, tile, … (docs/control.md).",
        examples=["canny"],
    )
    model: str | None = Field(
        None,
        min_length=1,
        max_length=400,
        description="ControlNet by its name in the control folders; left out = the one that fits the type.",
        examples=["controlnet-canny-sdxl"],
    )
    image: str | None = Field(
        None,
        min_length=1,
        max_length=4000,
        description="The picture: relative to the inbox, or absolute; left out = the job's input.",
        examples=["pose.png"],
    )
    strength: float = Field(1.0, ge=0, le=10, description="How strongly it bears on the picture.", examples=[0.8])
    start: float = Field(0.0, ge=0, le=1, description="From which share of the steps it works.", examples=[0.1])
    end: float = Field(1.0, ge=0, le=1, description="Up to which share of the steps it works.", examples=[0.7])
    preprocess: bool = Field(
        True, description="Make a map of the picture; false = the picture is the map already.", examples=[False]
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
    """A picture that an IP-Adapter goes by; a bare text means the picture."""

    image: str | None = Field(
        None,
        min_length=1,
        max_length=4000,
        description="The picture: relative to the inbox, or absolute; left out = the job's input.",
        examples=["style.png"],
    )
    weight: float = Field(1.0, ge=0, le=10, description="How strongly it bears on the picture.", examples=[0.6])
    model: str | None = Field(
        None,
        min_length=1,
        max_length=400,
        description="IP-Adapter by its name in the reference folders; left out = the only one there is.",
        examples=["ip-adapter_sdxl"],
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_image(cls, value: Any) -> Any:
        return {"image": value} if isinstance(value, str) else value


class JobVariation(JobPart):
    """A second noise mixed into the first, as A1111's variation seed."""

    seed: int | None = Field(
        None,
        ge=-1,
        le=MAX_SEED,
        description="Seed of the second noise; counts up from picture to picture. Left out or -1 = drawn at random.",
        examples=[99],
    )
    strength: float = Field(
        0.1, ge=0, le=1, description="Share of the second noise: 0 none of it, 1 it alone.", examples=[0.2]
    )


class JobOutput(JobPart):
    """Where the pictures go; a bare text means the folder."""

    folder: str = Field(
        "",
        max_length=1000,
        description="Folder: relative to the output folder of the settings, or absolute (it or its parent must exist).",
        examples=["portraits/june"],
    )
    name: str = Field(
        "",
        max_length=400,
        description="File name without ending, from {name} {index} {seed} {date} {time} {kind} {model} {prompt}.",
        examples=["{name}-{seed}"],
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


Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
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


class RenderOptions(JobPart):
    """What every kind of job says of the picture, of how it is sampled and where it goes."""

    kind: str = Field(description="What is to be made.", examples=["txt2img"])
    prompt: str = Field(
        max_length=PROMPT_CHARACTERS,
        description="What the picture shows; of any length, with A1111's `(word:1.2)` and its like (docs/prompts.md).",
        examples=["a lighthouse at dusk, oil painting"],
    )
    negative_prompt: str = Field(
        "", max_length=PROMPT_CHARACTERS, description="What it should not show.", examples=["blurry, text"]
    )
    prompt_syntax: PromptSyntax = Field(
        "a1111",
        description="How prompts are read: a1111 = weights, switches, AND, BREAK, <lora:…>; plain = as they stand.",
        examples=["plain"],
    )
    seed: int | None = Field(
        None,
        ge=-1,
        le=MAX_SEED,
        description="Seed of the first picture; the next ones count up from it. Left out or -1 = drawn at random.",
        examples=[1234],
    )
    seeds: Seeds | None = Field(
        None, description="One picture for each of these seeds: a list or a range.", examples=["100..119", [1, 5, 9]]
    )
    variation: JobVariation | None = Field(
        None,
        description="Variations of one picture: the seed stays, and a second noise is mixed in.",
        examples=[{"seed": 99, "strength": 0.2}],
    )
    count: int | None = Field(
        None, ge=1, le=MAX_IMAGES, description="How many pictures; left out = one, or one a seed.", examples=[4]
    )
    width: int | None = Field(
        None, ge=64, le=MAX_SIDE_PX, multiple_of=8, description="Width in pixels.", examples=[832]
    )
    height: int | None = Field(
        None, ge=64, le=MAX_SIDE_PX, multiple_of=8, description="Height in pixels.", examples=[1216]
    )
    size: Size | None = Field(None, description="Width x height in one, instead of the two.", examples=["832x1216"])
    steps: int = Field(30, ge=1, le=500, description="Denoising steps.", examples=[30])
    cfg: float = Field(7.0, ge=0, le=100, description="How strictly the prompt is followed.", examples=[6.5])
    cfg_rescale: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How much of the contrast that cfg adds is taken back (for v-prediction models about 0.7).",
        examples=[0.7],
    )
    sampler: str = Field(
        "dpmpp_2m",
        min_length=1,
        max_length=100,
        description="Sampler, as A1111 or ComfyUI name it.",
        examples=["DPM++ 2M", "euler_ancestral"],
    )
    schedule: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Spacing of the noise levels; left out = the sampler's own.",
        examples=["karras"],
    )
    clip_skip: int | None = Field(
        None, ge=1, le=12, description="Text layers left out, counted as A1111 does.", examples=[2]
    )
    model: str | None = Field(
        None,
        min_length=1,
        max_length=400,
        description="Checkpoint by its name in the checkpoint folders; left out = the one of [models.generator].",
        examples=["juggernautXL_v9"],
    )
    vae: str | None = Field(
        None,
        min_length=1,
        max_length=400,
        description="VAE by its name in the VAE folders; left out = the checkpoint's own.",
        examples=["sdxl_vae"],
    )
    loras: JobLoras = Field(
        default_factory=list,
        max_length=50,
        description="LoRAs: names, or name with weight and text_weight.",
        examples=[["film-grain", {"name": "detail-tweaker", "weight": 0.6}]],
    )
    lora_triggers: bool = Field(
        True,
        description="Put the trigger words that the registry knows of the LoRAs before the prompt, where it lacks them.",
        examples=[False],
    )
    themes: list[str] = Field(
        default_factory=list,
        max_length=50,
        description="Themes of the picture; a LoRA that the registry says not to fit them is refused.",
        examples=[["noir"]],
    )
    control: JobControlNets = Field(
        default_factory=list,
        max_length=10,
        description="ControlNets, each with the picture that it goes by; several work together.",
        examples=[[{"type": "canny", "image": "house.png", "strength": 0.8}]],
    )
    reference: JobReferences = Field(
        default_factory=list,
        max_length=10,
        description="Pictures whose look is taken up by an IP-Adapter, with weights.",
        examples=[[{"image": "style.png", "weight": 0.6}]],
    )
    score: list[ScoreName] = Field(
        default_factory=list,
        max_length=3,
        description="How finished pictures are judged: clip (fits its prompt), aesthetic (needs [score] aesthetic), sharpness.",
        examples=[["clip", "sharpness"]],
    )
    keep: Keep | None = Field(
        None,
        description="Which pictures stay by their scores; the others go to `rejected/` beside them, never away.",
        examples=[{"top": "10%"}],
    )
    output: JobOutput = Field(
        default_factory=JobOutput,
        description="Where the pictures go and how they are named.",
        examples=[{"folder": "june"}],
    )
    priority: PriorityNumber = Field(
        0, ge=-100, le=100, description="low, normal, high or a number; higher goes first.", examples=["high", 5]
    )


class Job(Stages, RenderOptions):
    """What every kind of job understands."""


class Txt2ImgJob(Job):
    """Pictures from a prompt."""

    kind: Literal["txt2img"] = Field(description="Pictures from a prompt.", examples=["txt2img"])


class Img2ImgJob(Job):
    """Pictures from a prompt and pictures: one for each input and seed."""

    kind: Literal["img2img"] = Field(description="Pictures from a prompt and pictures.", examples=["img2img"])
    input: Input = Field(
        description="The pictures to start from: a path, a list of paths, {folder: …}, {query: …}, {similar: …} or {character: …}.",
        examples=["sketch.png", {"query": "rating:5 model:pony", "count": 20}],
    )
    denoise: float = Field(
        0.5, gt=0, le=1, description="How far the input is changed: near 0 hardly, 1 entirely.", examples=[0.5]
    )


class InpaintJob(Job):
    """Pictures of which one part is made anew; every pixel outside the mask stays as it is."""

    kind: Literal["inpaint"] = Field(description="Parts of pictures made anew.", examples=["inpaint"])
    input: Input = Field(
        description="The pictures to change: a path, a list of paths, {folder: …}, {query: …}, {similar: …} or {character: …}.",
        examples=["portrait.png"],
    )
    mask: MaskField = Field(
        description="What is made anew: a mask file (white), {region: face} or {box: [left, top, width, height]}.",
        examples=["mask.png", {"region": "face", "padding": 0.2}],
    )
    mask_blur: int = Field(
        4, ge=0, le=256, description="How softly the mask ends, in pixels of the input.", examples=[8]
    )
    masked_content: MaskedContent = Field(
        "original",
        description="What lies under the mask at the start: the original, noise, or a fill from around it.",
        examples=["fill"],
    )
    only_masked: bool = Field(
        False,
        description="Work on the masked part alone, at width x height (1024x1024), and put it back scaled.",
        examples=[True],
    )
    only_masked_padding: int = Field(
        32, ge=0, le=1024, description="With only_masked: pixels of the input taken in around the mask.", examples=[64]
    )
    denoise: float = Field(
        0.75, gt=0, le=1, description="How far the masked part is changed: near 0 hardly, 1 entirely.", examples=[0.75]
    )


class RegenerateJob(Job):
    """Pictures made again by what they say of themselves, with changes: any key of the picture's own kind."""

    kind: Literal["regenerate"] = Field(description="Pictures made again, with changes.", examples=["regenerate"])
    prompt: str = Field(
        "",
        max_length=PROMPT_CHARACTERS,
        description="What the picture shows; left out = as the picture says.",
        examples=["a lighthouse at dawn"],
    )
    input: Input = Field(
        description="The pictures to make again: a path, a list of paths, {folder: …}, {query: …}, {similar: …} or {character: …}.",
        examples=["old.png", {"query": "rating:5 steps:..25"}],
    )
    denoise: float | None = Field(
        None, gt=0, le=1, description="How far a picture's own input is changed; left out = as it says.", examples=[0.5]
    )


class _FinishedImageJob(Job):
    """What the kinds that change finished pictures share: each keeps its size until a stage changes that."""

    prompt: str = Field(
        "",
        max_length=PROMPT_CHARACTERS,
        description="What the picture shows; for stages that denoise.",
        examples=["a lake"],
    )
    input: Input = Field(
        description="The pictures to change: a path, a list of paths, {folder: …}, {query: …}, {similar: …} or {character: …}.",
        examples=["lake.png", {"folder": "lakes"}],
    )


class UpscaleJob(_FinishedImageJob):
    """Finished pictures enlarged by a model; the other stages work on them too where the job says so."""

    kind: Literal["upscale"] = Field(description="Finished pictures, enlarged.", examples=["upscale"])
    upscale: UpscaleOrName = Field(
        description="The model, or model, scale, tile and overlap.", examples=["4x-UltraSharp"]
    )


class RefineJob(_FinishedImageJob):
    """Finished pictures denoised once more in tiles; the other stages work on them too where the job says so."""

    kind: Literal["refine"] = Field(description="Finished pictures, refined in tiles.", examples=["refine"])
    refine: Refine = Field(description=Refine.__doc__, examples=[{"denoise": 0.25}])


JOB_KINDS: Mapping[str, type[Job]] = {
    "txt2img": Txt2ImgJob,
    "img2img": Img2ImgJob,
    "inpaint": InpaintJob,
    "upscale": UpscaleJob,
    "refine": RefineJob,
    "regenerate": RegenerateJob,
}
"""The kinds that come with the program; other packages' kinds are known by their handlers."""

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
"""Keys as other programs name them -> ours, for suggestions."""
