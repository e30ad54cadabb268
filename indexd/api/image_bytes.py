"""What a client gets of a picture; apart from where it comes from, so that commands need not load the index for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """A picture as it is sent; `name` is the file name to offer."""

    data: bytes
    media_type: str
    name: str
