"""The last step of reading: every field of a record is storable, bounded, and no placeholder."""

from __future__ import annotations

import dataclasses
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.model import ImageMetadata

LIST_ITEMS_MAX = 200
NAME_CHARACTERS_MAX = 1_000
"""Longest text of every field that is no prompt."""

_PROMPT_FIELDS = frozenset(("prompt", "negative_prompt", "raw_prompt", "text", "negative_text"))
_CHOICES = ("sampler", "schedule", "model_name", "vae", "refiner", "upscaler", "hires_upscaler", "model_hash")


def sanitize(metadata: ImageMetadata) -> ImageMetadata:
    """The same metadata with bounded texts and lists, without NULs, lone surrogates and placeholders."""
    chosen: dict[str, Any] = {name: _choice(getattr(metadata, name)) for name in _CHOICES}
    passes = tuple(
        dataclasses.replace(one, sampler=_choice(one.sampler), schedule=_choice(one.schedule), model=_choice(one.model))
        for one in metadata.passes
    )
    cleaned: ImageMetadata = _clean(dataclasses.replace(metadata, passes=passes, **chosen), NAME_CHARACTERS_MAX)
    return cleaned


def _choice(stated: str | None) -> str | None:
    return None if stated is None or coerce.is_placeholder(stated) else stated


def _clean(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        value = value[:limit]
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            value = value.encode("utf-8", "replace").decode("utf-8")
        return value.replace("\0", "") if "\0" in value else value
    if isinstance(value, tuple):
        return tuple(_clean(item, max(limit, coerce.EXTRA_MAX)) for item in value[:LIST_ITEMS_MAX])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(
            value,
            **{
                field.name: _clean(
                    getattr(value, field.name), coerce.TEXT_MAX if field.name in _PROMPT_FIELDS else NAME_CHARACTERS_MAX
                )
                for field in dataclasses.fields(value)
            },
        )
    return value
