"""KoboldCpp: one line of `Key: value` with bars between, prompt and negative prompt first, the program's name last."""

from __future__ import annotations

import re

from indexd.images.facts import Metadata
from indexd.images.metadata import infotext, values
from indexd.images.metadata.registry import Texts, reads

CHUNKS = ("png:parameters", "exif:UserComment", "jpeg:comment", "stealth:parameters")

_END = re.compile(r"\|\s?Version: (KoboldCpp[^|\n]{0,60})\s*$")
_SETTINGS, _NEGATIVE = " | Steps: ", " | NegativePrompt: "
_COLUMNS = frozenset(
    ("Steps", "CFGScale", "Guidance", "Seed", "Size", "Sampler", "Clip skip", "Model", "VAE", "Version")
)


@reads("koboldcpp", rank=59)
def read(texts: Texts) -> Metadata | None:
    """The settings of a text that begins with the prompt and ends with the program's name."""
    for key in CHUNKS:
        text = (texts.get(key) or "")[: values.TEXT_MAX].strip()
        if text.startswith("Prompt: ") and (end := _END.search(text)) and (start := text.rfind(_SETTINGS)) >= 0:
            head, _, negative = text[len("Prompt: ") : start].rpartition(_NEGATIVE)
            return _metadata(head or negative, negative if head else None, text[start:], end[1], key)
    return None


def _metadata(prompt: str, negative: str | None, settings: str, version: str, source: str) -> Metadata:
    pairs = (part.partition(":") for part in settings.split("|"))
    given = {key.strip(): value.strip() for key, colon, value in pairs if colon}
    size = values.size(given.get("Size"))
    skip = values.whole(given.get("Clip skip"))
    return Metadata(
        generator="koboldcpp",
        generator_version=version,
        source=source,
        is_ai="metadata",
        prompt=values.text(prompt),
        negative_prompt=values.text(negative),
        seed=values.seed(given.get("Seed")),
        steps=values.whole(given.get("Steps")),
        cfg=values.number(given.get("CFGScale")),
        guidance=values.number(given.get("Guidance")),
        sampler=values.stated(given.get("Sampler")),
        clip_skip=skip if skip is not None and skip > 0 else None,
        model_name=values.model_name(given.get("Model")),
        vae=values.model_name(given.get("VAE")),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=infotext.loras_of(prompt, None),
        extras=values.others(given, _COLUMNS),
    )
