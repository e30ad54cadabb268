"""Infotext in any chunk: AUTOMATIC1111, Forge, reForge, SD.Next, stable-diffusion.cpp, Civitai, ComfyUI's A1111-like savers."""

from __future__ import annotations

import re

from indexd.image_metadata import coerce, infotext
from indexd.image_metadata.formats import infotext_resources
from indexd.image_metadata.model import ImageMetadata, SamplerPass
from indexd.image_metadata.registry import MetadataTexts, register_reader

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
        "VAE hash",
        "Denoising strength",
        "Clip skip",
        "Version",
        "App",
        "Lora hashes",
        "TI hashes",
        "Civitai resources",
        "Variation seed",
        "Variation seed strength",
        "Variation strength",
        "Distilled CFG Scale",
        "Refiner",
        "Hires upscale",
        "Hires scale",
        "Hires steps",
        "Hires upscaler",
        "Postprocess upscaler",
    )
)
_CANONICAL_SETTING_NAMES = {name.lower(): name for name in _COLUMNS}
_PLACEHOLDERS = frozenset(("", "unknown"))
_USE_SAME = re.compile(r"use same\b", re.IGNORECASE)


@register_reader("a1111", rank=60)
def read_a1111(texts: MetadataTexts) -> ImageMetadata | None:
    """The metadata of the first infotext in the file."""
    for key in CHUNKS:
        text = texts.get(key)
        parts = infotext.split_infotext(text) if text else None
        if parts is None:
            continue
        # ComfyUI savers write placeholders when their text inputs hang in the air; the graph beside them is the truth.
        if texts.has_comfyui_graph and parts.prompt.lower() in _PLACEHOLDERS:
            return None
        return metadata_from_infotext(parts, key)
    return None


def metadata_from_infotext(parts: infotext.Infotext, source: str) -> ImageMetadata:
    """The columns of one infotext."""
    given = _normalize_setting_names(parts.settings)
    resources = coerce.as_objects(coerce.parse_json(given.get("Civitai resources", "")))
    size = coerce.parse_size(given.get("Size"))
    generator, version = _detect_generator(given)
    is_hires = any(key in given for key in ("Hires upscale", "Hires scale", "Hires upscaler", "Hires resize"))
    denoise = coerce.parse_float(given.get("Denoising strength"))
    sampler = coerce.nonempty_text(given.get("Sampler"))
    schedule = coerce.nonempty_text(given.get("Schedule type") or given.get("Scheduler"))
    steps, seed = coerce.parse_int(given.get("Steps")), coerce.parse_seed(given.get("Seed"))
    cfg = coerce.parse_float(given.get("CFG scale"))
    model = _find_model_name(given, resources)
    controls, control_keys = infotext_resources.collect_controls(given)
    detailers, detailer_keys = infotext_resources.collect_detailers(given)
    return ImageMetadata(
        generator=generator,
        generator_version=version,
        source=source,
        is_ai="metadata",
        # Fooocus writes the styled and expanded prompt first; what the person typed stands in its settings.
        prompt=coerce.clean_text(parts.prompt or given.get("Raw prompt", "")),
        negative_prompt=coerce.clean_text(
            parts.negative_prompt or given.get("Raw negative prompt", parts.negative_prompt)
        ),
        raw_prompt=coerce.nonempty_text(given.get("Raw prompt")) or parts.template,
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler=sampler,
        schedule=schedule,
        denoise=denoise,
        clip_skip=coerce.parse_int(given.get("Clip skip")),
        model_name=model,
        model_hash=coerce.nonempty_text(given.get("Model hash")) or infotext_resources.model_in_hashes(given)[1],
        vae=_find_vae(given),
        vae_hash=infotext_resources.vae_hash(given),
        variation_seed=coerce.parse_seed(given.get("Variation seed")),
        variation_strength=coerce.parse_float(given.get("Variation seed strength") or given.get("Variation strength")),
        guidance=coerce.parse_float(given.get("Distilled CFG Scale") or given.get("Guidance")),
        refiner=infotext_resources.strip_model_hash(given.get("Refiner")),
        hires_scale=coerce.parse_float(given.get("Hires upscale") or given.get("Hires scale")),
        hires_steps=coerce.parse_int(given.get("Hires steps")),
        hires_upscaler=coerce.nonempty_text(given.get("Hires upscaler")),
        hires_denoise=denoise if is_hires else None,
        upscaler=coerce.nonempty_text(given.get("Postprocess upscaler")),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=infotext_resources.collect_loras(parts, given, resources),
        controls=controls,
        passes=_passes(given, SamplerPass(seed, steps, cfg, sampler, schedule, denoise, model), is_hires),
        embeddings=infotext_resources.collect_embeddings(given, resources),
        resources=tuple(infotext_resources.collect_resources(resources)),
        detailers=detailers,
        extras=(
            *((("raw negative prompt", text),) if (text := given.get("Raw negative prompt")) else ()),
            *(
                (key, coerce.display_text(value))
                for key, value in given.items()
                if key not in _COLUMNS and key not in control_keys and key not in detailer_keys
            ),
        ),
    )


def _normalize_setting_names(settings: dict[str, str]) -> dict[str, str]:
    """The settings by the names that A1111 gives them: `CFG Scale`, `seed` and `model` are seen as well."""
    given: dict[str, str] = {}
    for key, value in settings.items():
        given.setdefault(_CANONICAL_SETTING_NAMES.get(key.lower(), key), value)
    return given


def _detect_generator(given: dict[str, str]) -> tuple[str, str | None]:
    """The program that wrote the infotext, by its `Version` and `App`; A1111 itself where nothing says otherwise."""
    version = coerce.nonempty_text(given.get("Version"))
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


def _find_model_name(given: dict[str, str], resources: list[dict[str, object]]) -> str | None:
    """`Model`; stable-diffusion.cpp fills `Unet` instead; ComfyUI savers name it in `Hashes`, Civitai among its resources."""
    name = coerce.parse_model_name(given.get("Model")) or coerce.parse_model_name(given.get("Unet"))
    if name is None:
        name = infotext_resources.model_in_hashes(given)[0]
    if name is None:
        kinds = ("checkpoint", "model")
        name = next(
            (coerce.nonempty_text(item.get("modelName")) for item in resources if item.get("type") in kinds), None
        )
    return name


def _find_vae(given: dict[str, str]) -> str | None:
    """`VAE`, unless it states that the program chose one."""
    name = coerce.parse_model_name(given.get("VAE"))
    return None if name is None or name.lower() == "automatic" else name


def _passes(given: dict[str, str], first: SamplerPass, is_hires: bool) -> tuple[SamplerPass, ...]:
    """The passes of the samplers: with "hires fix" the strength belongs to the second one."""
    if not is_hires:
        return (first,)
    second = SamplerPass(
        first.seed,
        coerce.parse_int(given.get("Hires steps")) or first.steps,
        coerce.parse_float(given.get("Hires CFG Scale")) or first.cfg,
        _hires_override(given, "Hires sampler") or first.sampler,
        _hires_override(given, "Hires schedule type") or first.schedule,
        first.denoise,
        infotext_resources.strip_model_hash(_hires_override(given, "Hires checkpoint")) or first.model,
    )
    return SamplerPass(first.seed, first.steps, first.cfg, first.sampler, first.schedule, None, first.model), second


def _hires_override(given: dict[str, str], key: str) -> str | None:
    """A setting of the second pass, None where it says "Use same sampler"."""
    stated = coerce.nonempty_text(given.get(key))
    return None if stated is None or _USE_SAME.match(stated) else stated
