"""The metadata of an image from any program as a job: what a job file can say becomes a key, everything else a remark.

Samplers are found by every known name, model and LoRAs by their name. The job is always valid by the schema.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from indexd.errors import IndexdError
from indexd.image_metadata.model import ControlUse, ImageMetadata, SamplerPass
from indexd.jobs.export.job_file import JobFile, json_in_yaml, strip_invalid_characters
from indexd.jobs.export.program_keys import noise_settings, program_keys
from indexd_schemas.jobs.job import JOB_KINDS
from indexd_schemas.limits import PROMPT_CHARACTERS, SIZE_STEP_PX
from indexd_schemas.recipe_part import FileKind
from indexd_schemas.samplers import A1111_PROGRAMS, UnknownSampler, resolve_sampler, with_a1111_definitions

# The layer of SDXL's own text encoders, which is the default.
_SDXL_CLIP_SKIP = 2
_LORA_TAG = re.compile(r"<(lora|lyco|loha|hypernet):[^<>]*>?", re.IGNORECASE)
# A line of a job file has at most 32 768 characters, and JSON writes a sign with up to six.
_MAX_QUOTED_CHARACTERS, _TRUNCATED_CHARACTERS = 30_000, 5_000

_MAX_OTHER_SETTINGS = 30

FileProblem = Callable[[FileKind, str], str | None]
"""Why the model file of this kind and name cannot be used here; None where it can."""

NOT_SETTINGS = frozenset(
    (
        *("generator", "generator_version", "source", "is_ai", "created_at", "created_until", "created_from", "job"),
        *("scores", "annotations", "raw", "problem", "parser_version"),
        # The same models by their numbers on a model site; what a template chose stands in the prompt.
        *("resources", "choices"),
    )
)
"""The fields of ImageMetadata that decide no pixel. Every other one becomes a key of the job or a remark."""


def job_from_metadata(
    made: ImageMetadata, size: tuple[int, int], source: str | None, file_problem: FileProblem
) -> JobFile:
    """The job that makes an image of `size` pixels like the one with this metadata.

    `source` is the path of its img2img input, if known. Raises IndexdError when the image does not say how it was made.
    """
    if made.prompt is None and made.seed is None:
        raise IndexdError("it does not say with which prompt or seed it was made")
    job = JobFile()
    _set_kind(job, made, source)
    for key, text in (("prompt", made.prompt), ("negative_prompt", made.negative_prompt)):
        if text is not None or key == "prompt":
            job.keys[key] = _clean_prompt(job, key, text or "")
    if made.seed is not None:
        job.keys["seed"] = int(made.seed) if made.seed.isascii() and made.seed.isdigit() else made.seed
    _set_size(job, made, size)
    _set_sampling(job, made)
    job.keys |= program_keys(made)
    if made.model_name:
        job.keys["model"] = strip_invalid_characters(made.model_name)
        job.remarks += _remark("model", file_problem("checkpoint", made.model_name))
    _set_vae(job, made, file_problem)
    if "variation" not in job.keys:
        variation = {"seed": made.variation_seed, "strength": made.variation_strength}
        job.remarks += _remark("variation", _describe(variation) or None)
    _set_loras(job, made, file_problem)
    job.remarks += _remarks_on_dropped(made, file_problem)
    _drop_invalid_keys(job)
    return job


def _set_kind(job: JobFile, made: ImageMetadata, source: str | None) -> None:
    changed = made.denoise is not None and made.denoise < 1 and len(made.passes) < 2
    if made.input_hash is not None and source is not None:
        job.keys |= {"kind": "img2img", "input": source, "denoise": made.denoise}
        if made.generator in A1111_PROGRAMS:
            job.keys["step_counting"] = "a1111_img2img"
        return
    job.keys["kind"] = "txt2img"
    if made.input_hash is not None:
        job.remarks.append(f"input: made from the image {made.input_hash[:12]}…, which is not in the index")
    elif changed:
        job.remarks.append(f"input: made from another image, with denoise {made.denoise:g}, and does not say which")


def _clean_prompt(job: JobFile, key: str, text: str) -> str:
    """The text without the tags of LoRAs, which stand under `loras`."""
    text = strip_invalid_characters(text)
    while tags := _LORA_TAG.findall(text):
        text = _LORA_TAG.sub("", text).strip()
        if "hypernet" in (tag.lower() for tag in tags):
            job.remarks.append(f"{key}: it names a hypernetwork, and there are none here")
    if len(text) > PROMPT_CHARACTERS or len(json_in_yaml(text)) > _MAX_QUOTED_CHARACTERS:
        job.remarks.append(f"{key}: cut after {_TRUNCATED_CHARACTERS} of {len(text)} characters")
        text = text[:_TRUNCATED_CHARACTERS]
    if key == "prompt" and not text:
        job.remarks.append("prompt: the image states none")
    return text


def _set_size(job: JobFile, made: ImageMetadata, size: tuple[int, int]) -> None:
    stated = (made.gen_width, made.gen_height)
    width, height = size if None in stated else stated
    assert width is not None
    assert height is not None
    for key, side in (("width", width), ("height", height)):
        job.keys[key] = side - side % SIZE_STEP_PX
        if side % SIZE_STEP_PX:
            job.remarks.append(f"{key}: {side} is no multiple of {SIZE_STEP_PX}")
    if (width, height) != size:
        job.remarks.append(f"size: made at {width}x{height}, and the image has {size[0]}x{size[1]}")


def _set_sampling(job: JobFile, made: ImageMetadata) -> None:
    job.keys |= {key: value for key, value in (("steps", made.steps), ("cfg", made.cfg)) if value is not None}
    if made.sampler is not None:
        _set_sampler(job, made)
    elif made.schedule is not None:
        job.remarks.append(f"schedule: {made.schedule}, of a sampler that is not stated")
    if made.clip_skip is not None and made.generator == "a1111":
        # A1111 writes its setting into every infotext, and takes a fixed layer for SDXL whatever the setting.
        if made.clip_skip > _SDXL_CLIP_SKIP:
            job.remarks.append(f"clip_skip: {made.clip_skip}, which A1111 ignores for SDXL")
    elif made.clip_skip is not None:
        # Forge takes no later layer of SDXL's text encoders than the last but one.
        lowest = _SDXL_CLIP_SKIP if made.generator in A1111_PROGRAMS else 1
        job.keys["clip_skip"] = max(made.clip_skip, lowest)


def _set_sampler(job: JobFile, made: ImageMetadata) -> None:
    sampler = made.sampler or ""
    try:
        choice = resolve_sampler(sampler, made.schedule)
    except UnknownSampler as error:
        job.remarks.append(f"sampler: {sampler}{f' with {made.schedule}' if made.schedule else ''}: {error}")
        try:
            choice = resolve_sampler(sampler)
        except UnknownSampler:
            return
    if made.generator in A1111_PROGRAMS:
        choice = with_a1111_definitions(choice)
    job.keys["sampler"] = choice.sampler
    if choice.schedule is not None:
        job.keys["schedule"] = choice.schedule


def _set_vae(job: JobFile, made: ImageMetadata, file_problem: FileProblem) -> None:
    """A VAE that is here. A missing one is left out, because it would cost the whole job."""
    if not made.vae:
        return
    problem = file_problem("vae", made.vae)
    if problem is None:
        job.keys["vae"] = strip_invalid_characters(made.vae)
    job.remarks += _remark("vae", problem)


def _set_loras(job: JobFile, made: ImageMetadata, file_problem: FileProblem) -> None:
    loras = []
    for use in made.loras:
        weights = {"weight": use.weight, "text_weight": use.text_weight}
        loras.append(
            {"name": strip_invalid_characters(use.name)}
            | {key: value for key, value in weights.items() if value is not None}
        )
        job.remarks += _remark(f"loras: {use.name}", file_problem("lora", use.name))
    if loras:
        job.keys["loras"] = loras


def _remarks_on_dropped(made: ImageMetadata, file_problem: FileProblem) -> Iterable[str]:
    """What is not taken over, because job files have no key for it or mean something else by it."""
    if made.raw_prompt and made.raw_prompt != made.prompt:
        yield f"raw_prompt: the prompt stands as it was given to the model, not as it was written: {made.raw_prompt}"
    for number, one in enumerate(made.passes, 1):
        described = _describe_pass(one) if number > 1 else _describe({"steps": _step_range(one)})
        yield from _remark(f"pass {number}", described or None)
    hires = {
        "scale": made.hires_scale,
        "steps": made.hires_steps,
        "upscaler": made.hires_upscaler,
        "denoise": made.hires_denoise,
    }
    yield from _remark("hires", _describe(hires) or None)
    yield from _remark("refiner", made.refiner)
    yield from _remark("upscaler", made.upscaler)
    yield from _remark("guidance", None if made.guidance is None else f"{made.guidance:g}")
    yield from (f"control: {_describe_control(one)}" for one in made.controls)
    for detailer in made.detailers:
        yield f"detailer: {_describe(dataclasses.asdict(detailer)) or 'not described'}"
    for character in made.characters:
        yield f"character: {_describe(dataclasses.asdict(character))}"
    for embedding in made.embeddings:
        yield from _remark(f"embeddings: {embedding.name}", file_problem("embedding", embedding.name))
    hashes = {
        (made.model_name or "model"): made.model_hash,
        (made.vae or "vae"): made.vae_hash,
        **{lora.name: lora.hash for lora in made.loras},
        **{embedding.name: embedding.hash for embedding in made.embeddings},
    }
    yield from _remark("hashes", _describe(hashes, "files are found by their names alone: ") or None)
    others = [f"{key}: {value}" for key, value in made.extras if key not in noise_settings(made)]
    yield from others[:_MAX_OTHER_SETTINGS]
    if len(others) > _MAX_OTHER_SETTINGS:
        yield f"{len(others) - _MAX_OTHER_SETTINGS} further settings, which indexd show lists"


def _describe(stated: Mapping[str, object], heading: str = "") -> str:
    """What is stated, as text; empty where nothing is."""
    text = ", ".join(f"{key} {value}" for key, value in stated.items() if value is not None)
    return heading + text if text else ""


def _describe_pass(one: SamplerPass) -> str:
    stated: Mapping[str, object] = {
        "seed": one.seed,
        "sampler": one.sampler,
        "schedule": one.schedule,
        "steps": one.steps,
        "cfg": one.cfg,
        "denoise": one.denoise,
        "model": one.model,
        "range of steps": _step_range(one),
    }
    return _describe(stated) or "not described"


def _step_range(one: SamplerPass) -> str | None:
    if one.start_step is None and one.end_step is None:
        return None
    return f"{one.start_step or 0} to {'the last' if one.end_step is None else one.end_step}"


def _describe_control(one: ControlUse) -> str:
    weight = f" with weight {one.weight:g}" if one.weight is not None else ""
    rest = _describe({"module": one.module if one.model else None, "start": one.start, "end": one.end}, ", ")
    return f"{one.model or one.module or 'not described'}{weight}{rest}"


def _remark(what: str, problem: str | None) -> list[str]:
    return [] if problem is None else [f"{what}: {problem}"]


def _drop_invalid_keys(job: JobFile) -> None:
    """Take out what the schema refuses, with a remark; `kind` and `prompt` always pass."""
    schema = JOB_KINDS[job.keys["kind"]]
    while True:
        try:
            schema.model_validate(job.keys)
            return
        except ValidationError as error:
            first = error.errors()[0]
        key, *below = first["loc"]
        place: Any = job.keys
        # One wrong LoRA is no reason to lose the others.
        if key == "loras" and below and isinstance(below[0], int):
            place, key = job.keys["loras"], below[0]
        shown = place[key] if isinstance(place[key], (str, int, float)) else json.dumps(place[key])
        job.remarks.append(f"{first['loc'][0]}: {str(shown)[:80]}: {first['msg']}")
        del place[key]
        if job.keys.get("loras") == []:
            del job.keys["loras"]
