"""A prompt without any settings, in a place where only image generators write: `parameters`, or with a negative prompt."""

from __future__ import annotations

import re

from indexd.image_metadata import coerce, infotext
from indexd.image_metadata.model import ImageMetadata
from indexd.image_metadata.registry import MetadataTexts, register_reader

CHUNKS = ("png:parameters", "stealth:parameters")
CHUNKS_WITH_NEGATIVE = ("exif:UserComment", "jpeg:comment")
TEXT_MAX = 100_000

# A labelled text that no reader could split.
_LABEL = re.compile(r"(?:positive )?prompt[ \t]*:", re.IGNORECASE)


@register_reader("bare-prompt", rank=75)
def read_bare_prompt(texts: MetadataTexts) -> ImageMetadata | None:
    """The prompt and the negative prompt; None for JSON and for texts that other readers know."""
    for key in (*CHUNKS, *CHUNKS_WITH_NEGATIVE):
        text = (texts.get(key) or "")[:TEXT_MAX].replace("\r\n", "\n").strip()
        if not text or text[:1] in "{[<" or _LABEL.match(text) or infotext.split_infotext(text) is not None:
            continue
        prompt, negative = infotext.split_negative(text)
        if negative is None and key in CHUNKS_WITH_NEGATIVE:
            continue
        return ImageMetadata(
            source=key,
            is_ai="metadata",
            prompt=coerce.clean_text(prompt),
            negative_prompt=coerce.clean_text(negative),
            loras=infotext.parse_loras(prompt, None),
        )
    return None
