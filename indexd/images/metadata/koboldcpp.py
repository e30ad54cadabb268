"""KoboldCpp: one line of `Key: value` with bars between, prompt and negative prompt first, the program's name last."""

from __future__ import annotations

import re

from indexd.images.facts import ImageMetadata
from indexd.images.metadata import infotext, values
from indexd.images.metadata.registry import MetadataTexts, register_reader

CHUNKS = ("png:parameters", "exif:UserComment", "jpeg:comment", "stealth:parameters")

_END = re.compile(r"\|\s?Version: (KoboldCpp[^|\n]{0,60})\s*$")
_SETTINGS, _NEGATIVE = " | Steps: ", " | NegativePrompt: "
_COLUMNS = frozenset(
    ("Steps", "CFGScale", "Guidance", "Seed", "Size", "Sampler", "Clip skip", "Model", "VAE", "Version")
)


@register_reader("koboldcpp", rank=59)
def read_koboldcpp(texts: MetadataTexts) -> ImageMetadata | None:
    """The settings of a text that begins with the prompt and ends with the program's name."""
    for key in CHUNKS:
        text = (texts.get(key) or "")[: values.TEXT_MAX].strip()
        if text.startswith("Prompt: ") and (end := _END.search(text)) and (start := text.rfind(_SETTINGS)) >= 0:
            head, _, negative = text[len("Prompt: ") : start].rpartition(_NEGATIVE)
            return _metadata(head or negative, negative if head else None, text[start:], end[1], key)
    return None


def _metadata(prompt: str, negative: str | None, settings: str, version: str, source: str) -> ImageMetadata:
    pairs = (part.partition(":") for part in settings.split("|"))
    given = {key.strip(): value.strip() for key, colon, value in pairs if colon}
    size = values.parse_size(given.get("Size"))
    skip = values.parse_int(given.get("Clip skip"))
    return ImageMetadata(
        generator="koboldcpp",
        generator_version=version,
        source=source,
        is_ai="metadata",
        prompt=values.clean_text(prompt),
        negative_prompt=values.clean_text(negative),
        seed=values.parse_seed(given.get("Seed")),
        steps=values.parse_int(given.get("Steps")),
        cfg=values.parse_float(given.get("CFGScale")),
        guidance=values.parse_float(given.get("Guidance")),
        sampler=values.nonempty_text(given.get("Sampler")),
        clip_skip=skip if skip is not None and skip > 0 else None,
        model_name=values.parse_model_name(given.get("Model")),
        vae=values.parse_model_name(given.get("VAE")),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=infotext.parse_loras(prompt, None),
        extras=values.unmapped_pairs(given, _COLUMNS),
    )
