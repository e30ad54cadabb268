"""The file formats in which images are saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from indexd_schemas.recipe_part import RecipePart

ImageFormat = Literal["png", "jpeg", "webp", "avif"]
FORMAT_SYNONYMS: Mapping[str, ImageFormat] = {"jpg": "jpeg"}
SUFFIXES: Mapping[ImageFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "avif": ".avif"}
DEFAULT_QUALITY: Mapping[ImageFormat, int | None] = {"png": None, "jpeg": 92, "webp": 90, "avif": 80}
LOSSLESS_FORMATS: tuple[ImageFormat, ...] = ("png", "webp")


def canonical_format(value: Any) -> Any:
    """A format by its name in any letter case, or by its other name; other values as they are."""
    return FORMAT_SYNONYMS.get(value.lower(), value.lower()) if isinstance(value, str) else value


class OutputEncoding(RecipePart):
    """Format and quality of a saved image: 1 (smallest file) to 100; None = lossless."""

    format: ImageFormat = "png"
    quality: int | None = Field(None, ge=1, le=100)


PNG = OutputEncoding.model_construct()
