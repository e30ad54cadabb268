"""The Fooocus family's JSON: Fooocus 2 and its forks, RuinedFooocus, FooocusPlus, Fooocus-MRE.

They differ in the names of their keys and in the chunk; Fooocus' other scheme ("a1111") is an infotext.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.formats import fooocus_log_entry
from indexd.image_metadata.model import ImageMetadata, MetadataLora
from indexd.image_metadata.registry import MetadataTexts, register_reader

CHUNKS = ("png:parameters", "exif:UserComment", "png:Comment", "jpeg:comment", "sidecar:json")

_MODELS = ("base_model", "Base Model", "base_model_name")
_RAW_PROMPTS = ("prompt", "Prompt")
_PROMPTS = ("full_prompt", "real_prompt", *_RAW_PROMPTS)
_RAW_NEGATIVES = ("negative_prompt", "Negative Prompt", "Negative")
_NEGATIVES = ("full_negative_prompt", "real_negative_prompt", *_RAW_NEGATIVES)
_SEEDS = ("seed", "Seed")
_STEPS = ("steps", "Steps")
_SCALES = ("guidance_scale", "Guidance Scale", "cfg", "cfg_scale")
_SAMPLERS = ("sampler", "Sampler", "sampler_name")
_SCHEDULES = ("scheduler", "Scheduler", "scheduler_name")
_VERSIONS = ("version", "Version", "software", "Software")
_HASHES = ("base_model_hash", "Base Model Hash")
_SKIPS = ("clip_skip", "CLIP Skip", "Clip Skip")
_REFINERS = ("refiner_model", "Refiner Model", "refiner_model_name")
_VAES = ("vae", "VAE", "vae_name")
_SIZES = ("resolution", "Resolution")
_COLUMNS = frozenset(
    name
    for names in (_MODELS, _PROMPTS, _NEGATIVES, _SEEDS, _STEPS, _SCALES, _SAMPLERS, _SCHEDULES, _VERSIONS, _HASHES)
    for name in names
) | frozenset((*_SKIPS, *_VAES, *_REFINERS, *_SIZES, "width", "height", "loras"))
_NUMBERS = re.compile(r"\d+")
_OLD_LORA = re.compile(r"LoRA \[(.{1,300})\] weight")
_RUINED_LORA = re.compile(r"(-?[\d.]+) - (.+)")


@register_reader("fooocus", rank=32)
def read_fooocus(texts: MetadataTexts) -> ImageMetadata | None:
    """The settings of a JSON object that names a base model and a prompt."""
    for key in CHUNKS:
        given = texts.json_object(key)
        if any(name in given for name in _MODELS) and any(name in given for name in _PROMPTS):
            return _metadata(given, key, coerce.nonempty_text(texts.get("exif:Software")))
    given = fooocus_log_entry.parse_log_entry(texts.get("sidecar:log.html") or "")
    if any(name in given for name in _MODELS) and any(name in given for name in _PROMPTS):
        made = _metadata(given, "sidecar:log.html", None)
        # The log has Title-Case keys whoever wrote it.
        return (
            replace(made, generator="fooocus")
            if made.generator == "fooocusplus" and not _is_fooocusplus(made)
            else made
        )
    return None


def _is_fooocusplus(metadata: ImageMetadata) -> bool:
    return "plus" in (metadata.generator_version or "").lower()


def _metadata(given: dict[str, Any], source: str, software: str | None) -> ImageMetadata:
    width, height = _size(given)
    version = coerce.nonempty_text(_first_value(given, _VERSIONS)) or software
    return ImageMetadata(
        generator=_detect_generator(given, version),
        generator_version=version,
        source=source,
        is_ai="metadata",
        prompt=_prompt_text(given, _PROMPTS),
        negative_prompt=_prompt_text(given, _NEGATIVES),
        raw_prompt=_prompt_text(given, _RAW_PROMPTS) or None,
        seed=coerce.parse_seed(_first_value(given, _SEEDS)),
        steps=coerce.parse_int(_first_value(given, _STEPS)),
        cfg=coerce.parse_float(_first_value(given, _SCALES)),
        sampler=coerce.nonempty_text(_first_value(given, _SAMPLERS)),
        schedule=coerce.nonempty_text(_first_value(given, _SCHEDULES)),
        clip_skip=coerce.parse_int(_first_value(given, _SKIPS)),
        model_name=coerce.parse_model_name(_first_value(given, _MODELS)),
        model_hash=coerce.nonempty_text(_first_value(given, _HASHES)),
        vae=coerce.parse_model_name(_first_value(given, _VAES)),
        refiner=coerce.parse_model_name(_first_value(given, _REFINERS)),
        gen_width=width,
        gen_height=height,
        loras=_loras(given),
        extras=tuple((key, coerce.display_text(value)) for key, value in given.items() if key not in _COLUMNS),
    )


def _detect_generator(given: dict[str, Any], version: str | None) -> str:
    stated = f"{given.get('software', '')} {version or ''}".lower()
    if "ruined" in stated:
        return "ruinedfooocus"
    if "plus" in stated or "Base Model" in given:
        return "fooocusplus"
    return "fooocus-mre" if "mre" in stated else "fooocus"


def _first_value(given: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((given[name] for name in names if given.get(name) is not None), None)


def _prompt_text(given: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """The first text that is not empty: what the model was given (a list of parts) before what the user typed."""
    found = None
    for name in names:
        value = given.get(name)
        text = coerce.clean_text(", ".join(str(part) for part in value) if isinstance(value, list) else value)
        if text:
            return text
        found = text if found is None else found
    return found


def _size(given: dict[str, Any]) -> tuple[int | None, int | None]:
    stated = _first_value(given, _SIZES)
    if stated is not None:
        numbers = _NUMBERS.findall(str(stated)[:60])  # "(1024, 1024)", "1152×896", [1024, 1024]
        return (coerce.parse_int(numbers[0]), coerce.parse_int(numbers[1])) if len(numbers) >= 2 else (None, None)
    return coerce.parse_int(given.get("width")), coerce.parse_int(given.get("height"))


def _loras(given: dict[str, Any]) -> tuple[MetadataLora, ...]:
    uses = []
    listed = given.get("loras")
    for item in listed if isinstance(listed, list) else ():
        use = _parse_lora(item)
        if use is not None:
            uses.append(use)
    for key, value in given.items():
        if match := _OLD_LORA.fullmatch(key):
            if name := coerce.parse_model_name(match[1]):
                uses.append(MetadataLora(name, coerce.parse_float(value)))
        elif re.fullmatch(r"lora_combined_\d+|LoRA \d+", key) and isinstance(value, str):
            parts = [part for part in value.split(" : ") if part not in ("True", "False")]
            name = coerce.parse_model_name(parts[0]) if not value.startswith("False") else None
            if name:
                uses.append(MetadataLora(name, coerce.parse_float(parts[-1]) if len(parts) > 1 else None))
    # The same LoRA stands in `loras` and under a key of its own.
    return tuple({use.name: use for use in reversed(uses)}.values())[::-1]


def _parse_lora(item: object) -> MetadataLora | None:
    """One LoRA: `[name, weight, hash]`, `{"name", "weight"}`, or RuinedFooocus' `[hash, "0.5 - name"]`."""
    if isinstance(item, dict):
        name = coerce.parse_model_name(item.get("name"))
        return (
            MetadataLora(name, coerce.parse_float(item.get("weight")), None, coerce.nonempty_text(item.get("hash")))
            if name
            else None
        )
    if not isinstance(item, list) or not item:
        return None
    if len(item) == 2 and isinstance(item[1], str) and (match := _RUINED_LORA.fullmatch(item[1])):
        name = coerce.parse_model_name(match[2])
        return MetadataLora(name, coerce.parse_float(match[1]), None, coerce.nonempty_text(item[0])) if name else None
    name = coerce.parse_model_name(item[0])
    weight = coerce.parse_float(item[1]) if len(item) > 1 else None
    return MetadataLora(name, weight, None, coerce.nonempty_text(item[2]) if len(item) > 2 else None) if name else None
