"""Infotext in any chunk: AUTOMATIC1111, Forge, reForge, SD.Next, stable-diffusion.cpp, Civitai, ComfyUI's A1111-like savers."""

from __future__ import annotations

import re

from indexd.images.facts import Metadata, SamplerPass
from indexd.images.metadata import infotext, infotext_parts, values
from indexd.images.metadata.registry import Texts, reads

CHUNKS = (
    "png:parameters",
    "exif:UserComment",
    "stealth:parameters",
    "exif:ImageDescription",
    "exif:XPComment",
    "jpeg:comment",
    "gif:comment",
    "png:Comment",
    "png:Description",
    "png:comment",
    "sidecar:txt",
)
"""Where infotexts are found, the surest place first."""

_COLUMNS = frozenset(
    (
        "Steps",
        "Sampler",
        "Schedule type",
        "Scheduler",
        "Raw prompt",
        "Raw negative prompt",
        "Lora weights",
        "CFG scale",
        "Seed",
        "Size",
        "Model hash",
        "Model",
        "VAE",
        "Denoising strength",
        "Clip skip",
        "Version",
        "App",
        "Lora hashes",
        "TI hashes",
        "Civitai resources",
        "Variation seed",
        "Variation seed strength",
        "Distilled CFG Scale",
        "Refiner",
        "Hires upscale",
        "Hires scale",
        "Hires steps",
        "Hires upscaler",
        "Postprocess upscaler",
    )
)
_USUAL = {name.lower(): name for name in _COLUMNS}
_PLACEHOLDERS = frozenset(("", "unknown"))
_SAME = re.compile(r"use same\b", re.IGNORECASE)


@reads("a1111", rank=60)
def read(texts: Texts) -> Metadata | None:
    """The metadata of the first infotext in the file."""
    for key in CHUNKS:
        text = texts.get(key)
        parts = infotext.split(text) if text else None
        if parts is None:
            continue
        # ComfyUI savers write placeholders when their text inputs hang in the air; the graph beside them is the truth.
        if texts.has_graph and parts.prompt.lower() in _PLACEHOLDERS:
            return None
        return metadata_of(parts, key)
    return None


def metadata_of(parts: infotext.Infotext, source: str) -> Metadata:
    """The columns of one infotext."""
    given = _in_usual_case(parts.settings)
    resources = values.records(values.json_of(given.get("Civitai resources", "")))
    size = values.size(given.get("Size"))
    generator, version = _maker(given)
    is_hires = any(key in given for key in ("Hires upscale", "Hires scale", "Hires upscaler", "Hires resize"))
    denoise = values.number(given.get("Denoising strength"))
    sampler = values.stated(given.get("Sampler"))
    schedule = values.stated(given.get("Schedule type") or given.get("Scheduler"))
    steps, seed = values.whole(given.get("Steps")), values.seed(given.get("Seed"))
    cfg = values.number(given.get("CFG scale"))
    model = _model(given, resources)
    controls, control_keys = infotext_parts.controls(given)
    detailers, detailer_keys = infotext_parts.detailers(given)
    return Metadata(
        generator=generator,
        generator_version=version,
        source=source,
        is_ai="metadata",
        # Fooocus writes the styled and expanded prompt first; what the person typed stands in its settings.
        prompt=values.text(given.get("Raw prompt", parts.prompt)),
        negative_prompt=values.text(given.get("Raw negative prompt", parts.negative_prompt)),
        raw_prompt=values.stated(given.get("Raw prompt")) or parts.template,
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler=sampler,
        schedule=schedule,
        denoise=denoise,
        clip_skip=values.whole(given.get("Clip skip")),
        model_name=model,
        model_hash=values.stated(given.get("Model hash")),
        vae=values.model_name(given.get("VAE")),
        variation_seed=values.seed(given.get("Variation seed")),
        variation_strength=values.number(given.get("Variation seed strength")),
        guidance=values.number(given.get("Distilled CFG Scale") or given.get("Guidance")),
        refiner=infotext_parts.unhashed(given.get("Refiner")),
        hires_scale=values.number(given.get("Hires upscale") or given.get("Hires scale")),
        hires_steps=values.whole(given.get("Hires steps")),
        hires_upscaler=values.stated(given.get("Hires upscaler")),
        hires_denoise=denoise if is_hires else None,
        upscaler=values.stated(given.get("Postprocess upscaler")),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=infotext_parts.loras(parts, given, resources),
        controls=controls,
        passes=_passes(given, SamplerPass(seed, steps, cfg, sampler, schedule, denoise, model), is_hires),
        embeddings=infotext_parts.embeddings(given, resources),
        resources=tuple(infotext_parts.resources_of(resources)),
        detailers=detailers,
        extras=(
            *((("full prompt", parts.prompt),) if "Raw prompt" in given else ()),
            *(
                (key, values.extra(value))
                for key, value in given.items()
                if key not in _COLUMNS and key not in control_keys and key not in detailer_keys
            ),
        ),
    )


def _in_usual_case(settings: dict[str, str]) -> dict[str, str]:
    """The settings by the names that A1111 gives them: `CFG Scale`, `seed` and `model` are seen as well."""
    given: dict[str, str] = {}
    for key, value in settings.items():
        given.setdefault(_USUAL.get(key.lower(), key), value)
    return given


def _maker(given: dict[str, str]) -> tuple[str, str | None]:
    """The program that wrote the infotext, by its `Version` and `App`; A1111 itself where nothing says otherwise."""
    version = values.stated(given.get("Version"))
    lower = (version or "").lower()
    if given.get("App") == "SD.Next":
        return "sd.next", version
    if "Civitai resources" in given:
        return "civitai", version
    for mark, name in (("stable-diffusion.cpp", "sd.cpp"), ("comfyui", "comfyui"), ("fooocus", "fooocus")):
        if lower.startswith(mark):
            return name, version
    if "SDCPP" in given:
        return "sd.cpp", version
    # Forge writes f2.0.1v1.10.1-…, its branches "classic" and "neo"; reForge f1.0.0v2-v1.10.1RC-….
    if re.match(r"f\d[\w.]*-v1\.10\.1RC", version or ""):
        return "reforge", version
    if re.match(r"f\d|classic|neo", lower):
        return "forge", version
    return "a1111", version


def _model(given: dict[str, str], resources: list[dict[str, object]]) -> str | None:
    """`Model`; stable-diffusion.cpp leaves it empty and fills `Unet`; Civitai names it among its resources."""
    name = values.model_name(given.get("Model")) or values.model_name(given.get("Unet"))
    if name is None:
        kinds = ("checkpoint", "model")
        name = next((values.stated(item.get("modelName")) for item in resources if item.get("type") in kinds), None)
    return name


def _passes(given: dict[str, str], first: SamplerPass, is_hires: bool) -> tuple[SamplerPass, ...]:
    """The passes of the samplers: with "hires fix" the strength belongs to the second one."""
    if not is_hires:
        return (first,)
    second = SamplerPass(
        first.seed,
        values.whole(given.get("Hires steps")) or first.steps,
        values.number(given.get("Hires CFG Scale")) or first.cfg,
        _own(given, "Hires sampler") or first.sampler,
        _own(given, "Hires schedule type") or first.schedule,
        first.denoise,
        infotext_parts.unhashed(_own(given, "Hires checkpoint")) or first.model_name,
    )
    return SamplerPass(
        first.seed, first.steps, first.cfg, first.sampler, first.schedule, None, first.model_name
    ), second


def _own(given: dict[str, str], key: str) -> str | None:
    """A setting of the second pass, None where it says "Use same sampler"."""
    stated = values.stated(given.get(key))
    return None if stated is None or _SAME.match(stated) else stated
