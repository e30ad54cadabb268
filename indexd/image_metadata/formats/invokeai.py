"""InvokeAI, all generations: the `Dream` command line, `sd-metadata` JSON, and `invokeai_metadata` JSON since version 3."""

from __future__ import annotations

import re
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.formats.invokeai_graph import metadata_from_graph
from indexd.image_metadata.model import ControlUse, ImageMetadata, MetadataLora
from indexd.image_metadata.registry import MetadataTexts, fill_gaps, register_reader

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
        "t2iAdapters",
        "hrf_enabled",
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


@register_reader("invokeai", rank=30)
def read_invokeai(texts: MetadataTexts) -> ImageMetadata | None:
    """The newest of the three forms that the file holds."""
    if given := texts.json_object("png:invokeai_metadata"):
        stated = _from_invokeai_metadata(given)
        if stated.steps is not None and stated.sampler is not None and stated.seed is not None:
            return stated
        # Metadata nodes write what is wired to them; the rest stands in the workflow.
        return fill_gaps(stated, metadata_from_graph(texts) or ImageMetadata())
    if given := texts.json_object("png:sd-metadata"):
        return _from_sd_metadata(given)
    match = _DREAM.match((texts.get("png:Dream") or "")[:COMMAND_MAX])
    if match:
        return _from_dream_command(match[1], dict(_OPTION.findall(match[2])))
    # Images of the workflow editor have a graph, and metadata only where it is wired up.
    return metadata_from_graph(texts)


def _from_invokeai_metadata(given: dict[str, Any]) -> ImageMetadata:
    model = coerce.as_object(given.get("model"))
    # Version 3 states the settings of the high-resolution fix whether or not it was on.
    hires = {} if given.get("hrf_enabled") is False else given
    return ImageMetadata(
        generator="invokeai",
        generator_version=coerce.nonempty_text(given.get("app_version")),
        source="png:invokeai_metadata",
        is_ai="metadata",
        prompt=coerce.clean_text(given.get("positive_prompt")),
        negative_prompt=coerce.clean_text(given.get("negative_prompt")),
        seed=coerce.parse_seed(given.get("seed")),
        steps=coerce.parse_int(given.get("steps")),
        cfg=coerce.parse_float(given.get("cfg_scale")),
        sampler=coerce.nonempty_text(given.get("scheduler")),
        denoise=coerce.parse_float(given.get("strength")),
        clip_skip=coerce.parse_int(given.get("clip_skip")) or None,
        model_name=_model_name(model),
        model_hash=coerce.nonempty_text(model.get("hash") or model.get("model_hash")),
        vae=_model_name(coerce.as_object(given.get("vae"))),
        vae_hash=coerce.nonempty_text(coerce.as_object(given.get("vae")).get("hash")),
        guidance=coerce.parse_float(given.get("guidance")),
        refiner=_model_name(coerce.as_object(given.get("refiner_model"))),
        hires_scale=coerce.parse_float(hires.get("hrf_scale")),
        hires_upscaler=coerce.nonempty_text(hires.get("hrf_method")),
        hires_denoise=coerce.parse_float(hires.get("hrf_strength")),
        gen_width=coerce.parse_int(given.get("width")),
        gen_height=coerce.parse_int(given.get("height")),
        loras=tuple(_parse_lora(item) for item in coerce.as_objects(given.get("loras"))),
        controls=tuple(
            _parse_control(item) for key in ("controlnets", "t2iAdapters") for item in coerce.as_objects(given.get(key))
        ),
        extras=tuple(
            (key, coerce.display_text(value)) for key, value in given.items() if key not in _COLUMNS and value
        ),
    )


def _model_name(model: dict[str, Any]) -> str | None:
    """The key of the name moved from `model_name` (version 3) to `name` (version 4 and later)."""
    return coerce.parse_model_name(model.get("name") or model.get("model_name"))


def _parse_lora(item: dict[str, Any]) -> MetadataLora:
    model = coerce.as_object(item.get("model") or item.get("lora"))
    return MetadataLora(
        _model_name(model) or "unknown",
        coerce.parse_float(item.get("weight")),
        None,
        coerce.nonempty_text(model.get("hash")),
    )


def _parse_control(item: dict[str, Any]) -> ControlUse:
    model = coerce.as_object(item.get("control_model") or item.get("t2i_adapter_model"))
    return ControlUse(
        _model_name(model),
        None,
        coerce.parse_float(item.get("control_weight", item.get("weight"))),
        coerce.parse_float(item.get("begin_step_percent")),
        coerce.parse_float(item.get("end_step_percent")),
        coerce.nonempty_text(model.get("hash")),
    )


def _from_sd_metadata(given: dict[str, Any]) -> ImageMetadata | None:
    image = coerce.as_object(given.get("image"))
    prompts = image.get("prompt")
    whole = prompts if isinstance(prompts, str) else ""
    if parts := coerce.as_objects(prompts):
        whole = ", ".join(str(part.get("prompt", "")) for part in parts)
    if not image:
        return None
    prompt, negative = _split_negative(whole)
    variation = next(iter(coerce.as_objects(image.get("variations"))), {})
    return ImageMetadata(
        generator="invokeai",
        generator_version=coerce.nonempty_text(given.get("app_version")),
        source="png:sd-metadata",
        is_ai="metadata",
        prompt=prompt,
        negative_prompt=negative,
        seed=coerce.parse_seed(image.get("seed")),
        steps=coerce.parse_int(image.get("steps")),
        cfg=coerce.parse_float(image.get("cfg_scale")),
        sampler=coerce.nonempty_text(image.get("sampler")),
        denoise=coerce.parse_float(image.get("strength")),
        model_name=coerce.parse_model_name(given.get("model_weights")),
        model_hash=coerce.nonempty_text(given.get("model_hash")),
        variation_seed=coerce.parse_seed(variation.get("seed")),
        variation_strength=coerce.parse_float(variation.get("weight")),
        gen_width=coerce.parse_int(image.get("width")),
        gen_height=coerce.parse_int(image.get("height")),
        extras=(*coerce.unmapped_pairs(given, _COLUMNS_2), *coerce.unmapped_pairs(image, _IMAGE_COLUMNS_2)),
    )


def _from_dream_command(quoted: str, options: dict[str, str]) -> ImageMetadata:
    prompt, negative = _split_negative(re.sub(r"\\(.)", r"\1", quoted))
    # -V seed:weight,seed:weight
    seed, _, weight = options.get("V", "").split(",")[0].partition(":")
    return ImageMetadata(
        generator="invokeai",
        source="png:Dream",
        is_ai="metadata",
        prompt=prompt,
        negative_prompt=negative,
        seed=coerce.parse_seed(options.get("S")),
        steps=coerce.parse_int(options.get("s")),
        cfg=coerce.parse_float(options.get("C")),
        sampler=coerce.nonempty_text(options.get("A")),
        denoise=coerce.parse_float(options.get("f")),
        variation_seed=coerce.parse_seed(seed),
        variation_strength=coerce.parse_float(weight),
        gen_width=coerce.parse_int(options.get("W")),
        gen_height=coerce.parse_int(options.get("H")),
        extras=tuple(
            (f"-{key}", coerce.display_text(value)) for key, value in options.items() if key not in _OPTIONS_1
        ),
    )


def _split_negative(combined_prompt: str) -> tuple[str, str]:
    """Prompt and negative prompt: what stands in square brackets is what is not wanted."""
    negative = ", ".join(part.strip() for part in _NEGATIVE.findall(combined_prompt[: coerce.TEXT_MAX]))
    return _NEGATIVE.sub("", combined_prompt[: coerce.TEXT_MAX]).strip(), negative
