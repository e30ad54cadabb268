"""Midjourney's web downloads: the prompt with its `--options` and the job's id in the PNG `Description`."""

from __future__ import annotations

import re

from indexd.image_metadata import coerce
from indexd.image_metadata.model import ImageMetadata
from indexd.image_metadata.registry import MetadataTexts, register_reader

DESCRIPTION_MAX = 20_000

_JOB = re.compile(r"Job ID: ?([0-9a-f]{8}-[0-9a-f-]{27})", re.IGNORECASE)
_OPTIONS = re.compile(r"(?:^|(?<=\s))--(?=[a-z])", re.IGNORECASE)
_VERSIONS = ("v", "version", "niji")


@register_reader("midjourney", rank=80)
def read_midjourney(texts: MetadataTexts) -> ImageMetadata | None:
    """The prompt of a `Description` that ends with a Midjourney job id, or has its options and an author."""
    text = (texts.get("png:Description") or texts.get("exif:ImageDescription") or "")[:DESCRIPTION_MAX]
    job = _JOB.search(text)
    prompt, *given = _OPTIONS.split(_JOB.sub("", text))
    options = {name.lower(): value.strip() for name, _, value in (option.partition(" ") for option in given)}
    has_version = any(name in options for name in _VERSIONS)
    if job is None and not (has_version and texts.get("png:Author")):
        return None
    version = next((f"{name} {options[name]}".strip() for name in _VERSIONS if name in options), None)
    return ImageMetadata(
        generator="midjourney",
        generator_version=version,
        source="png:Description" if texts.get("png:Description") else "exif:ImageDescription",
        is_ai="metadata",
        prompt=coerce.clean_text(prompt),
        negative_prompt=coerce.nonempty_text(options.get("no")),
        seed=coerce.parse_seed(options.get("seed")),
        extras=tuple((f"--{name}", value) for name, value in options.items())
        + ((("job id", job[1]),) if job else ())
        + tuple((key, stated) for key in ("Author", "Creation Time") if (stated := texts.get(f"png:{key}"))),
    )
