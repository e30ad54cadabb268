"""A file -> its facts: hash, format, size, texts, and what the texts say. Nothing is decoded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import BinaryIO

from indexd.errors import NotAnImage, is_transient_os_error
from indexd.image_metadata import parse_metadata
from indexd.image_metadata.byte_source import ByteSource, hash_and_open
from indexd.image_metadata.containers.container_reader import read_container
from indexd.image_metadata.containers.stealth_png import read_stealth_png
from indexd.image_metadata.containers.text_collector import Container
from indexd.image_metadata.model import ImageFacts, ImageMetadata, RawChunk

log = logging.getLogger(__name__)


def read_image(
    file: BinaryIO, size: int, name: str, read_sidecars: Callable[[], Sequence[RawChunk]] = tuple
) -> ImageFacts:
    """The facts of a picture whose file stands at its beginning and is `size` bytes long.

    `name` is only used in log lines: the format is told by the content. Raises NotAPicture(reason) for everything
    that is no PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF, or whose header is damaged. A damaged text is no reason:
    it is named in `metadata.problem`. `beside` gives the texts of files beside the picture; it is only asked when the
    picture itself does not say what made it. Reads the file once, plus what lies around its texts. Raises OSError where the
    machine is at fault and no picture.
    """
    content_hash, source = hash_and_open(file, size)
    try:
        container = read_container(source)
        metadata = _parse_texts(source, container, read_sidecars)
    except NotAnImage:
        raise
    except Exception as error:
        if is_transient_os_error(error):
            raise
        # A bug in a container reader must cost one file, not the daemon; the traceback is what repairs it.
        log.exception("reading the header of %s failed", name)
        raise NotAnImage(f"reading the header failed ({type(error).__name__})") from error
    return ImageFacts(
        content_hash=content_hash,
        byte_count=source.size,
        format=container.format,
        width=container.width,
        height=container.height,
        frame_count=container.frame_count,
        metadata=metadata,
    )


def _parse_texts(
    source: ByteSource, container: Container, read_sidecars: Callable[[], Sequence[RawChunk]]
) -> ImageMetadata:
    """What the texts say; then what is hidden in the pixels; then what lies beside the file."""
    metadata = parse_metadata(container.chunks, container.problems)
    if metadata.is_ai is None and container.format == "PNG" and (hidden := read_stealth_png(source)) is not None:
        metadata = parse_metadata((*container.chunks, hidden), container.problems)
    if metadata.is_ai is None and (more := read_sidecars()):
        metadata = parse_metadata((*container.chunks, *more), container.problems)
    return metadata
