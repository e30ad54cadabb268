"""The metadata readers as indexd uses them: with the recipe reader registered, and with errors of indexd.

Import `read_image` and `parse_metadata` from here, not from `indexd.image_metadata`, which does not know recipes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

from indexd.errors import NotAnImage
from indexd.image_metadata import file_reader
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.model import ImageFacts, RawChunk
from indexd.image_metadata.parser import parse_metadata
from indexd.images import recipe_reader

__all__ = ["parse_metadata", "read_image", "recipe_reader"]


def read_image(
    file: BinaryIO, size: int, name: str, read_sidecars: Callable[[], Sequence[RawChunk]] = tuple
) -> ImageFacts:
    """Read an image as `indexd.image_metadata.file_reader.read_image` does. Raises NotAnImage or OSError."""
    try:
        return file_reader.read_image(file, size, name, read_sidecars)
    except UnreadableImage as error:
        raise NotAnImage(str(error)) from error
