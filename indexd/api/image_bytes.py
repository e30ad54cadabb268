"""The bytes of an image with their media type. Separate from the code that reads them, which loads the index."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """`name` is the file name to suggest to a browser."""

    data: bytes
    media_type: str
    name: str
