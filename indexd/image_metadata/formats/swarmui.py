"""SwarmUI and StableSwarmUI: JSON with `sui_image_params` (PNG parameters, EXIF UserComment or Model, .swarm.json)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.model import ControlUse, ImageMetadata, MetadataLora
from indexd.image_metadata.registry import MetadataTexts, register_reader

_CONTROL_KEY = re.compile(r"controlnet(?:two|three)?(?:model|preprocessor|strength|start|end)")
CHUNKS = ("png:parameters", "exif:UserComment", "exif:Model", "stealth:parameters", "sidecar:json")

_COLUMNS = frozenset(
    (
        "prompt",
        "negativeprompt",
        "model",
        "seed",
        "steps",
        "cfgscale",
        "sampler",
        "scheduler",
        "width",
        "height",
        "vae",
        "loras",
        "loraweights",
        "swarm_version",
        "initimagecreativity",
        "variationseed",
        "variationseedstrength",
        "fluxguidancescale",
        "refinermodel",
        "refinerupscale",
        "refinersteps",
        "refinerupscalemethod",
        "refinercontrolpercentage",
        "refinercontrol",
        "clipstopatlayer",
        "original_prompt",
    )
)


@register_reader("swarmui", rank=20)
def read_swarmui(texts: MetadataTexts) -> ImageMetadata | None:
    """The parameters that were sent to SwarmUI; a ComfyUI graph in the same file fills what they leave to defaults."""
    for key in CHUNKS:
        whole = texts.json_object(key)
        given = coerce.as_object(whole.get("sui_image_params"))
        if given:
            return _metadata(given, whole, key)
    return None


def _metadata(given: dict[str, Any], whole: dict[str, Any], source: str) -> ImageMetadata:
    more = coerce.as_object(whole.get("sui_extra_data"))
    hashes = {
        coerce.parse_model_name(item.get("name")): coerce.nonempty_text(item.get("hash"))
        for item in coerce.as_objects(whole.get("sui_models"))
    }
    model = coerce.parse_model_name(given.get("model"))
    # A refining pass states the method of enlarging at scale 1 as well.
    scale = stated if (stated := coerce.parse_float(given.get("refinerupscale"))) != 1 else None
    return ImageMetadata(
        generator="swarmui",
        generator_version=coerce.nonempty_text(given.get("swarm_version")),
        source=source,
        is_ai="metadata",
        prompt=coerce.clean_text(given.get("prompt")),
        negative_prompt=coerce.clean_text(given.get("negativeprompt")),
        raw_prompt=coerce.nonempty_text(more.get("original_prompt"))
        or coerce.nonempty_text(given.get("original_prompt")),
        seed=coerce.parse_seed(given.get("seed")),
        steps=coerce.parse_int(given.get("steps")),
        cfg=coerce.parse_float(given.get("cfgscale")),
        sampler=coerce.nonempty_text(given.get("sampler")),
        schedule=coerce.nonempty_text(given.get("scheduler")),
        denoise=coerce.parse_float(given.get("initimagecreativity")),
        model_name=model,
        model_hash=hashes.get(model),
        clip_skip=-last if (last := coerce.parse_int(given.get("clipstopatlayer"))) is not None else None,
        vae=coerce.parse_model_name(given.get("vae")),
        variation_seed=coerce.parse_seed(given.get("variationseed")),
        variation_strength=coerce.parse_float(given.get("variationseedstrength")),
        guidance=coerce.parse_float(given.get("fluxguidancescale")),
        refiner=coerce.parse_model_name(given.get("refinermodel")),
        hires_scale=scale,
        hires_steps=coerce.parse_int(given.get("refinersteps")),
        hires_upscaler=coerce.nonempty_text(given.get("refinerupscalemethod")) if scale else None,
        hires_denoise=_refiner_share(given),
        gen_width=coerce.parse_int(given.get("width")),
        gen_height=coerce.parse_int(given.get("height")),
        loras=_loras(given, hashes),
        controls=tuple(_controls(given)),
        extras=(
            *(
                (key, coerce.display_text(value))
                for key, value in given.items()
                if key not in _COLUMNS and not _CONTROL_KEY.fullmatch(key)
            ),
            *((key, coerce.display_text(more[key])) for key in ("date",) if more.get(key)),
        ),
    )


def _controls(given: dict[str, Any]) -> Iterator[ControlUse]:
    """Up to three ControlNets: `controlnetmodel`, `controlnettwomodel`, `controlnetthreemodel` and so on."""
    for unit in ("controlnet", "controlnettwo", "controlnetthree"):
        if model := coerce.parse_model_name(given.get(f"{unit}model")):
            yield ControlUse(
                model,
                coerce.nonempty_text(given.get(f"{unit}preprocessor")),
                coerce.parse_float(given.get(f"{unit}strength")),
                coerce.parse_float(given.get(f"{unit}start")),
                coerce.parse_float(given.get(f"{unit}end")),
            )


def _refiner_share(given: dict[str, Any]) -> float | None:
    """The share of the steps that the refining pass does, under its older or its newer name."""
    return coerce.parse_float(given.get("refinercontrolpercentage", given.get("refinercontrol")))


def _loras(given: dict[str, Any], hashes: dict[str | None, str | None]) -> tuple[MetadataLora, ...]:
    names, weights = _as_list(given.get("loras")), _as_list(given.get("loraweights"))
    uses = []
    for index, entry in enumerate(names):
        if name := coerce.parse_model_name(entry):
            weight = coerce.parse_float(weights[index]) if index < len(weights) else None
            uses.append(MetadataLora(name, weight, None, hashes.get(name)))
    return tuple(uses)


def _as_list(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return list(value.split(",")) if isinstance(value, str) and value else []
