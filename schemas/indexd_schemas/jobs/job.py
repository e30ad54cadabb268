"""Job files (YAML) as typed models: every key with its description and an example.

One model a kind; all share `Job`. job_values.py has the values of their keys. The models check single keys. Admission checks what depends on model files, on
other keys or on the settings: whether a LoRA exists, whether the image is too large.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from indexd_schemas.jobs.input_selection import Input
from indexd_schemas.jobs.job_part import JobPart, WorkSize
from indexd_schemas.jobs.job_values import (
    MAX_IMAGES,
    Grid,
    JobControlNets,
    JobLoras,
    JobNoise,
    JobOutput,
    JobReferences,
    JobVariation,
    PriorityNumber,
    Seeds,
)
from indexd_schemas.jobs.mask import MaskedContent, MaskField
from indexd_schemas.jobs.scoring import Keep, ScoreName
from indexd_schemas.jobs.stages import Refine, Stages, UpscaleOrName
from indexd_schemas.jobs.template import JobTemplate
from indexd_schemas.limits import (
    MAX_SEED,
    PROMPT_CHARACTERS,
    Cfg,
    ClipSkip,
    Share,
    Side,
    Steps,
)
from indexd_schemas.noise import TimestepRounding
from indexd_schemas.samplers import StepCounting

JobPromptSyntax = Literal["a1111", "comfyui", "plain", "dynamic"]
"""Those of a recipe, and the template syntax, which admission expands."""
GRID_KEY = "grid"


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
