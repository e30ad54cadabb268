"""KoboldCpp: one line of `Key: value` with bars between, prompt and negative prompt first, the program's name last."""

from __future__ import annotations

import re

from indexd.image_metadata import coerce, infotext
from indexd.image_metadata.model import ImageMetadata
from indexd.image_metadata.registry import MetadataTexts, register_reader

CHUNKS = ("png:parameters", "exif:UserComment", "jpeg:comment", "stealth:parameters")

_END = re.compile(r"\|\s?Version: (KoboldCpp[^|\n]{0,60})\s*$")
_SETTINGS, _NEGATIVE = " | Steps: ", " | NegativePrompt: "
_COLUMNS = frozenset(
    ("Steps", "CFGScale", "Guidance", "Seed", "Size", "Sampler", "Clip skip", "Model", "VAE", "Version")
)


@register_reader("koboldcpp", rank=57)
def read_koboldcpp(texts: MetadataTexts) -> ImageMetadata | None:
    """The settings of a text that begins with the prompt and ends with the program's name."""
    for key in CHUNKS:
        text = (texts.get(key) or "")[: coerce.TEXT_MAX].strip()
        if text.startswith("Prompt: ") and (end := _END.search(text)) and (start := text.rfind(_SETTINGS)) >= 0:
            head, _, negative = text[len("Prompt: ") : start].rpartition(_NEGATIVE)
            return _metadata(head or negative, negative if head else None, text[start:], end[1], key)
    return None


def _metadata(prompt: str, negative: str | None, settings: str, version: str, source: str) -> ImageMetadata:
    pairs = (part.partition(":") for part in settings.split("|"))
    given = {key.strip(): value.strip() for key, colon, value in pairs if colon}
    size = coerce.parse_size(given.get("Size"))
    skip = coerce.parse_int(given.get("Clip skip"))
    return ImageMetadata(
        generator="koboldcpp",
        generator_version=version,
        source=source,
        is_ai="metadata",
        prompt=coerce.clean_text(prompt),
        negative_prompt=coerce.clean_text(negative),
        seed=coerce.parse_seed(given.get("Seed")),
        steps=coerce.parse_int(given.get("Steps")),
        cfg=coerce.parse_float(given.get("CFGScale")),
        guidance=coerce.parse_float(given.get("Guidance")),
        sampler=coerce.nonempty_text(given.get("Sampler")),
        clip_skip=skip if skip is not None and skip > 0 else None,
        model_name=coerce.parse_model_name(given.get("Model")),
        vae=coerce.parse_model_name(given.get("VAE")),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=infotext.parse_loras(prompt, None),
        extras=coerce.unmapped_pairs(given, _COLUMNS),
    )
