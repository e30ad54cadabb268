"""InvokeAI, all generations: the `Dream` command line, `sd-metadata` JSON, and `invokeai_metadata` JSON since version 3."""

from __future__ import annotations

import re
from typing import Any

from indexd.images.facts import ControlUse, LoraUse, Metadata
from indexd.images.metadata import values
from indexd.images.metadata.invokeai_graph import of_graph
from indexd.images.metadata.registry import Texts, reads

COMMAND_MAX = 50_000
"""Characters of a `Dream` command line that are looked at."""

_NEGATIVE = re.compile(r"\[([^\[\]]*)\]")
_DREAM = re.compile(r"\s*\"((?:\\.|[^\"\\])*)\"(.*)", re.DOTALL)
# -s 50 or -s50
_OPTION = re.compile(r"(?:^|\s)-([A-Za-z])\s*([^\s-]\S*)")

_COLUMNS = frozenset(
    (
        "positive_prompt",
        "negative_prompt",
        "seed",
        "steps",
        "cfg_scale",
        "scheduler",
        "model",
        "width",
        "height",
        "loras",
        "controlnets",
        "vae",
        "strength",
        "clip_skip",
        "app_version",
        "refiner_model",
        "hrf_strength",
        "hrf_method",
        "hrf_scale",
        "guidance",
    )
)
_COLUMNS_2 = frozenset(("image", "model_weights", "model_hash", "app_version"))
_IMAGE_COLUMNS_2 = frozenset(
    ("prompt", "seed", "steps", "cfg_scale", "sampler", "strength", "width", "height", "variations")
)
_OPTIONS_1 = frozenset("SsCAfWHV")


@reads("invokeai", rank=30)
def read(texts: Texts) -> Metadata | None:
    """The newest of the three forms that the file holds."""
    if given := texts.record("png:invokeai_metadata"):
        return _version_3(given)
    if given := texts.record("png:sd-metadata"):
        return _version_2(given)
    match = _DREAM.match((texts.get("png:Dream") or "")[:COMMAND_MAX])
    if match:
        return _version_1(match[1], dict(_OPTION.findall(match[2])))
    # Pictures of the workflow editor have a graph, and no metadata where nobody wired it up.
    return of_graph(texts)


def _version_3(given: dict[str, Any]) -> Metadata:
    model = values.record(given.get("model"))
    return Metadata(
        generator="invokeai",
        generator_version=values.stated(given.get("app_version")),
        source="png:invokeai_metadata",
        is_ai="metadata",
        prompt=values.text(given.get("positive_prompt")),
        negative_prompt=values.text(given.get("negative_prompt")),
        seed=values.seed(given.get("seed")),
        steps=values.whole(given.get("steps")),
        cfg=values.number(given.get("cfg_scale")),
        sampler=values.stated(given.get("scheduler")),
        denoise=values.number(given.get("strength")),
        clip_skip=values.whole(given.get("clip_skip")) or None,
        model_name=_name(model),
        model_hash=values.stated(model.get("hash") or model.get("model_hash")),
        vae=_name(values.record(given.get("vae"))),
        guidance=values.number(given.get("guidance")),
        refiner=_name(values.record(given.get("refiner_model"))),
        hires_scale=values.number(given.get("hrf_scale")),
        hires_upscaler=values.stated(given.get("hrf_method")),
        hires_denoise=values.number(given.get("hrf_strength")),
        gen_width=values.whole(given.get("width")),
        gen_height=values.whole(given.get("height")),
        loras=tuple(_lora(item) for item in values.records(given.get("loras"))),
        controls=tuple(_control(item) for item in values.records(given.get("controlnets"))),
        extras=tuple((key, values.extra(value)) for key, value in given.items() if key not in _COLUMNS and value),
    )


def _name(model: dict[str, Any]) -> str | None:
    """The key of the name moved from `model_name` (version 3) to `name` (version 4 and later)."""
    return values.model_name(model.get("name") or model.get("model_name"))


def _lora(item: dict[str, Any]) -> LoraUse:
    model = values.record(item.get("model") or item.get("lora"))
    return LoraUse(_name(model) or "unknown", values.number(item.get("weight")), None, values.stated(model.get("hash")))


def _control(item: dict[str, Any]) -> ControlUse:
    return ControlUse(
        _name(values.record(item.get("control_model"))),
        None,
        values.number(item.get("control_weight")),
        values.number(item.get("begin_step_percent")),
        values.number(item.get("end_step_percent")),
    )


def _version_2(given: dict[str, Any]) -> Metadata | None:
    image = values.record(given.get("image"))
    prompts = image.get("prompt")
    whole = prompts if isinstance(prompts, str) else ""
    if parts := values.records(prompts):
        whole = ", ".join(str(part.get("prompt", "")) for part in parts)
    if not image:
        return None
    prompt, negative = _sides(whole)
    variation = next(iter(values.records(image.get("variations"))), {})
    return Metadata(
        generator="invokeai",
        generator_version=values.stated(given.get("app_version")),
        source="png:sd-metadata",
        is_ai="metadata",
        prompt=prompt,
        negative_prompt=negative,
        seed=values.seed(image.get("seed")),
        steps=values.whole(image.get("steps")),
        cfg=values.number(image.get("cfg_scale")),
        sampler=values.stated(image.get("sampler")),
        denoise=values.number(image.get("strength")),
        model_name=values.model_name(given.get("model_weights")),
        model_hash=values.stated(given.get("model_hash")),
        variation_seed=values.seed(variation.get("seed")),
        variation_strength=values.number(variation.get("weight")),
        gen_width=values.whole(image.get("width")),
        gen_height=values.whole(image.get("height")),
        extras=(*values.others(given, _COLUMNS_2), *values.others(image, _IMAGE_COLUMNS_2)),
    )


def _version_1(quoted: str, options: dict[str, str]) -> Metadata:
    prompt, negative = _sides(re.sub(r"\\(.)", r"\1", quoted))
    # -V seed:weight,seed:weight
    seed, _, weight = options.get("V", "").split(",")[0].partition(":")
    return Metadata(
        generator="invokeai",
        source="png:Dream",
        is_ai="metadata",
        prompt=prompt,
        negative_prompt=negative,
        seed=values.seed(options.get("S")),
        steps=values.whole(options.get("s")),
        cfg=values.number(options.get("C")),
        sampler=values.stated(options.get("A")),
        denoise=values.number(options.get("f")),
        variation_seed=values.seed(seed),
        variation_strength=values.number(weight),
        gen_width=values.whole(options.get("W")),
        gen_height=values.whole(options.get("H")),
        extras=tuple((f"-{key}", values.extra(value)) for key, value in options.items() if key not in _OPTIONS_1),
    )


def _sides(whole: str) -> tuple[str, str]:
    """Prompt and negative prompt: what stands in square brackets is what is not wanted."""
    negative = ", ".join(part.strip() for part in _NEGATIVE.findall(whole[: values.TEXT_MAX]))
    return _NEGATIVE.sub("", whole[: values.TEXT_MAX]).strip(), negative
