"""SwarmUI and StableSwarmUI: JSON with `sui_image_params` (PNG parameters, EXIF UserComment or Model, .swarm.json)."""

from __future__ import annotations

from typing import Any

from indexd.images.facts import ControlUse, LoraUse, Metadata
from indexd.images.metadata import values
from indexd.images.metadata.registry import Texts, reads

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
        "controlnetmodel",
        "controlnetstrength",
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


@reads("swarmui", rank=20)
def read(texts: Texts) -> Metadata | None:
    """The parameters that were sent to SwarmUI; a ComfyUI graph in the same file fills what they leave to defaults."""
    for key in CHUNKS:
        whole = texts.record(key)
        given = values.record(whole.get("sui_image_params"))
        if given:
            return _metadata(given, whole, key)
    return None


def _metadata(given: dict[str, Any], whole: dict[str, Any], source: str) -> Metadata:
    more = values.record(whole.get("sui_extra_data"))
    hashes = {
        values.model_name(item.get("name")): values.stated(item.get("hash"))
        for item in values.records(whole.get("sui_models"))
    }
    model = values.model_name(given.get("model"))
    control = values.model_name(given.get("controlnetmodel"))
    return Metadata(
        generator="swarmui",
        generator_version=values.stated(given.get("swarm_version")),
        source=source,
        is_ai="metadata",
        prompt=values.text(given.get("prompt")),
        negative_prompt=values.text(given.get("negativeprompt")),
        raw_prompt=values.stated(more.get("original_prompt")) or values.stated(given.get("original_prompt")),
        seed=values.seed(given.get("seed")),
        steps=values.whole(given.get("steps")),
        cfg=values.number(given.get("cfgscale")),
        sampler=values.stated(given.get("sampler")),
        schedule=values.stated(given.get("scheduler")),
        denoise=values.number(given.get("initimagecreativity")),
        model_name=model,
        model_hash=hashes.get(model),
        clip_skip=-last if (last := values.whole(given.get("clipstopatlayer"))) is not None else None,
        vae=values.model_name(given.get("vae")),
        variation_seed=values.seed(given.get("variationseed")),
        variation_strength=values.number(given.get("variationseedstrength")),
        guidance=values.number(given.get("fluxguidancescale")),
        refiner=values.model_name(given.get("refinermodel")),
        hires_scale=values.number(given.get("refinerupscale")),
        hires_steps=values.whole(given.get("refinersteps")),
        hires_upscaler=values.stated(given.get("refinerupscalemethod")),
        hires_denoise=_refined(given),
        gen_width=values.whole(given.get("width")),
        gen_height=values.whole(given.get("height")),
        loras=_loras(given, hashes),
        controls=(ControlUse(control, weight=values.number(given.get("controlnetstrength"))),) if control else (),
        extras=tuple((key, values.extra(value)) for key, value in given.items() if key not in _COLUMNS),
    )


def _refined(given: dict[str, Any]) -> float | None:
    """The share of the steps that the refining pass does, under its older or its newer name."""
    return values.number(given.get("refinercontrolpercentage", given.get("refinercontrol")))


def _loras(given: dict[str, Any], hashes: dict[str | None, str | None]) -> tuple[LoraUse, ...]:
    names, weights = _listed(given.get("loras")), _listed(given.get("loraweights"))
    uses = []
    for index, entry in enumerate(names):
        if name := values.model_name(entry):
            weight = values.number(weights[index]) if index < len(weights) else None
            uses.append(LoraUse(name, weight, None, hashes.get(name)))
    return tuple(uses)


def _listed(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return list(value.split(",")) if isinstance(value, str) and value else []
