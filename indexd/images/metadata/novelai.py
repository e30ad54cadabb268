"""NovelAI: `Comment` JSON (PNG chunks, WebP EXIF, or hidden in the alpha channel) with the model in `Source`."""

from __future__ import annotations

from typing import Any

from indexd.images.facts import CharacterPrompt, Metadata, SamplerPass
from indexd.images.metadata import values
from indexd.images.metadata.registry import Texts, reads

_MARKS = frozenset(("uc", "v4_prompt", "noise_schedule", "uncond_scale", "signed_hash"))
_COLUMNS = frozenset(
    (
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


@reads("novelai", rank=31)
def read(texts: Texts) -> Metadata | None:
    """The settings in `Comment`; the prompt of the first generations stands in `Description`."""
    given = texts.record("png:Comment")
    if len(_MARKS & given.keys()) < (1 if _is_named(texts) else 2):
        return None
    described = texts.get("png:Description") or texts.get("exif:ImageDescription")
    caption = _caption(given.get("v4_prompt"))
    negative = _caption(given.get("v4_negative_prompt"))
    # Old generations name the whole model in Source, new ones in WebP in Software.
    model = next((name for key in ("png:Source", "exif:Software") if (name := values.stated(texts.get(key)))), None)
    seed, steps = values.seed(given.get("seed")), values.whole(given.get("steps"))
    cfg, sampler = values.number(given.get("scale")), values.stated(given.get("sampler"))
    schedule = values.stated(given.get("noise_schedule"))
    return Metadata(
        generator="novelai",
        source="exif:UserComment" if texts.get("exif:UserComment") else "png:Comment",
        is_ai="metadata",
        prompt=values.text(given.get("prompt")) or values.text(caption.get("base_caption")) or values.text(described),
        negative_prompt=values.text(given.get("uc"))
        or values.text(negative.get("base_caption"))
        or values.text(given.get("uc")),
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler=sampler,
        schedule=schedule,
        denoise=values.number(given.get("strength")) if given.get("request_type") == "Img2ImgRequest" else None,
        model_name=model,
        gen_width=values.whole(given.get("width")),
        gen_height=values.whole(given.get("height")),
        passes=(SamplerPass(seed, steps, cfg, sampler, schedule, None, model),),
        characters=_characters(caption, negative),
        extras=tuple(
            (key, values.extra(value)) for key, value in given.items() if key not in _COLUMNS and _says_something(value)
        ),
    )


def _is_named(texts: Texts) -> bool:
    names = (texts.get("png:Software"), texts.get("png:Source"), texts.get("exif:Software"), texts.get("png:Title"))
    return any("NovelAI" in (name or "") or "Stable Diffusion" in (name or "") for name in names)


def _caption(prompt: object) -> dict[str, Any]:
    return values.record(values.record(prompt).get("caption"))


def _characters(positive: dict[str, Any], negative: dict[str, Any]) -> tuple[CharacterPrompt, ...]:
    """The prompts of single characters; the negative ones stand in a list of their own, in the same order."""
    against = values.records(negative.get("char_captions"))
    found = []
    for place, item in enumerate(values.records(positive.get("char_captions"))):
        unwanted = values.stated(against[place].get("char_caption")) if place < len(against) else None
        text = values.text(item.get("char_caption"))
        if not text and not unwanted:
            continue
        centre = next(iter(values.records(item.get("centers"))), {})
        found.append(
            CharacterPrompt(text or "", unwanted, values.number(centre.get("x")), values.number(centre.get("y")))
        )
    return tuple(found)


def _says_something(value: object) -> bool:
    return value not in (None, False, [], {}, "")
