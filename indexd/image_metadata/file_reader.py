"""Read one image file: hash, format, size in pixels, raw texts and metadata. No pixels are decoded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import BinaryIO

from indexd.image_metadata.byte_source import IN_MEMORY_BYTES_MAX, ByteSource, hash_and_open
from indexd.image_metadata.containers.container_reader import (
    HEAD_BYTES,
    UNKNOWN_FORMAT,
    detect_format,
    read_container,
)
from indexd.image_metadata.containers.stealth_png import read_stealth_png
from indexd.image_metadata.containers.text_collector import Container
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.model import ImageFacts, ImageMetadata, RawChunk
from indexd.image_metadata.parser import parse_metadata

log = logging.getLogger(__name__)


def read_image(
    file: BinaryIO, size: int, name: str, read_sidecars: Callable[[], Sequence[RawChunk]] = tuple
) -> ImageFacts:
    """Read an image from a file that is positioned at its start and `size` bytes long.

    `name` appears in log lines only; the format is detected by content. `read_sidecars` returns the texts of files next
    to the image and is called only when the image itself does not state what made it.

    Raises UnreadableImage for files of other formats and for damaged headers, and OSError where the file cannot be read.
    A damaged text is reported in `metadata.problem`.
    """
    check_header(file, size)
    try:
        # Files that are not kept in memory are hashed after their header has been read: hashing takes seconds.
        container = read_container(ByteSource(file, size)) if size > IN_MEMORY_BYTES_MAX else None
        file.seek(0)
        content_hash, source = hash_and_open(file, size)
        container = container or read_container(source)
        metadata = _parse_texts(source, container, read_sidecars)
    except (UnreadableImage, OSError, MemoryError):
        raise
    except Exception as error:
        # A bug in a container reader costs one file, not the process.
        log.exception("reading the header of %s failed", name)
        raise UnreadableImage(f"reading the header failed ({type(error).__name__})") from error
    return ImageFacts(
        content_hash=content_hash,
        byte_count=source.size,
        format=container.format,
        width=container.width,
        height=container.height,
        frame_count=container.frame_count,
        metadata=metadata,
    )


def check_header(file: BinaryIO, size: int) -> None:
    """Raise UnreadableImage unless the file begins like one of the supported formats. The file is left at its start."""
    if size == 0:
        raise UnreadableImage("the file is empty")
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if detect_format(head) is None:
        raise UnreadableImage(UNKNOWN_FORMAT)


def _parse_texts(
    source: ByteSource, container: Container, read_sidecars: Callable[[], Sequence[RawChunk]]
) -> ImageMetadata:
    """Parse the texts of the file, then the text hidden in its pixels, then its sidecars, until one names an AI origin."""
    size = (container.width, container.height)
    metadata = parse_metadata(container.chunks, container.problems, size)
    if metadata.is_ai is None and container.format == "PNG" and (hidden := read_stealth_png(source)) is not None:
        metadata = parse_metadata((*container.chunks, hidden), container.problems, size)
    if metadata.is_ai is None and (more := read_sidecars()):
        metadata = parse_metadata((*container.chunks, *more), container.problems, size)
    return metadata
