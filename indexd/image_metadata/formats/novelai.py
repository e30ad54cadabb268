"""NovelAI: `Comment` JSON (PNG chunks, WebP EXIF, or hidden in the alpha channel) with the model in `Source`."""

from __future__ import annotations

import re
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.model import CharacterPrompt, ControlUse, ImageMetadata, SamplerPass
from indexd.image_metadata.registry import MetadataTexts, register_reader

_SIGNATURE_KEYS = frozenset(("uc", "v4_prompt", "noise_schedule", "uncond_scale", "signed_hash"))
_MODEL_HASH = re.compile(r" ([0-9A-F]{8})$")
_COLUMNS = frozenset(
    (
        "controlnet_model",
        "controlnet_strength",
        "prompt",
        "uc",
        "seed",
        "steps",
        "scale",
        "sampler",
        "noise_schedule",
        "strength",
        "width",
        "height",
        "v4_prompt",
        "v4_negative_prompt",
        "signed_hash",
    )
)


@register_reader("novelai", rank=31)
def read_novelai(texts: MetadataTexts) -> ImageMetadata | None:
    """The settings in `Comment`; the prompt of the first generations stands in `Description`."""
    given = texts.json_object("png:Comment")
    if len(_SIGNATURE_KEYS & given.keys()) < (1 if _names_novelai(texts) else 2):
        return _from_director_tool(texts, given)
    described = texts.get("png:Description") or texts.get("exif:ImageDescription")
    caption = _caption(given.get("v4_prompt"))
    negative = _caption(given.get("v4_negative_prompt"))
    # Old generations name the whole model in Source, new ones in WebP in Software.
    model = next(
        (name for key in ("png:Source", "exif:Software") if (name := coerce.nonempty_text(texts.get(key)))), None
    )
    seed, steps = coerce.parse_seed(given.get("seed")), coerce.parse_int(given.get("steps"))
    cfg, sampler = coerce.parse_float(given.get("scale")), coerce.nonempty_text(given.get("sampler"))
    schedule = coerce.nonempty_text(given.get("noise_schedule"))
    return ImageMetadata(
        generator="novelai",
        source="exif:UserComment" if texts.get("exif:UserComment") else "png:Comment",
        is_ai="metadata",
        prompt=coerce.clean_text(given.get("prompt"))
        or coerce.clean_text(caption.get("base_caption"))
        or coerce.clean_text(described),
        negative_prompt=coerce.clean_text(given.get("uc"))
        or coerce.clean_text(negative.get("base_caption"))
        or coerce.clean_text(given.get("uc")),
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler=sampler,
        schedule=schedule,
        denoise=coerce.parse_float(given.get("strength")) if given.get("request_type") == "Img2ImgRequest" else None,
        model_name=model,
        model_hash=match[1] if (match := _MODEL_HASH.search(model or "")) else None,
        controls=_controls(given),
        gen_width=coerce.parse_int(given.get("width")),
        gen_height=coerce.parse_int(given.get("height")),
        passes=(SamplerPass(seed, steps, cfg, sampler, schedule, None, model),),
        characters=_characters(caption, negative),
        extras=tuple(
            (key, coerce.display_text(value))
            for key, value in given.items()
            if key not in _COLUMNS and _is_meaningful(value)
        ),
    )


def _controls(given: dict[str, Any]) -> tuple[ControlUse, ...]:
    """The control tool of the first generations; its strength is stated whether or not it was used."""
    name = coerce.nonempty_text(given.get("controlnet_model"))
    return (ControlUse(name, weight=coerce.parse_float(given.get("controlnet_strength"))),) if name else ()


def _from_director_tool(texts: MetadataTexts, given: dict[str, Any]) -> ImageMetadata | None:
    """NovelAI's director tools change an image (line art, sketch, emotion) and state only which of them was used."""
    tool = coerce.nonempty_text(given.get("req_type"))
    if texts.get("png:Software") != "NovelAI" or tool is None:
        return None
    return ImageMetadata(
        generator="novelai",
        source="png:Comment",
        is_ai="metadata",
        prompt=coerce.nonempty_text(given.get("prompt")),
        extras=coerce.unmapped_pairs(given, ("prompt",)),
    )


def _names_novelai(texts: MetadataTexts) -> bool:
    names = (texts.get("png:Software"), texts.get("png:Source"), texts.get("exif:Software"), texts.get("png:Title"))
    return any("NovelAI" in (name or "") or "Stable Diffusion" in (name or "") for name in names)


def _caption(prompt: object) -> dict[str, Any]:
    return coerce.as_object(coerce.as_object(prompt).get("caption"))


def _characters(positive: dict[str, Any], negative: dict[str, Any]) -> tuple[CharacterPrompt, ...]:
    """The prompts of single characters; the negative ones stand in a list of their own, in the same order."""
    against = coerce.as_objects(negative.get("char_captions"))
    found = []
    for place, item in enumerate(coerce.as_objects(positive.get("char_captions"))):
        unwanted = coerce.nonempty_text(against[place].get("char_caption")) if place < len(against) else None
        text = coerce.clean_text(item.get("char_caption"))
        if not text and not unwanted:
            continue
        centre = next(iter(coerce.as_objects(item.get("centers"))), {})
        found.append(
            CharacterPrompt(
                text or "", unwanted, coerce.parse_float(centre.get("x")), coerce.parse_float(centre.get("y"))
            )
        )
    return tuple(found)


def _is_meaningful(value: object) -> bool:
    return value not in (None, False, [], {}, "")
