"""A file -> its facts: hash, format, size, texts, and what the texts say. Nothing is decoded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import BinaryIO

from indexd.errors import NotAPicture, is_machines_fault
from indexd.images.containers.kinds import read_container
from indexd.images.containers.png_stealth import hidden_text
from indexd.images.containers.texts import Container
from indexd.images.facts import ImageFacts, Metadata, RawChunk
from indexd.images.metadata import parse
from indexd.images.source import Source, hashed

log = logging.getLogger(__name__)


def read(file: BinaryIO, size: int, name: str, beside: Callable[[], Sequence[RawChunk]] = tuple) -> ImageFacts:
    """The facts of a picture whose file stands at its beginning and is `size` bytes long.

    `name` is only used in log lines: the format is told by the content. Raises NotAPicture(reason) for everything
    that is no PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF, or whose header is damaged. A damaged text is no reason:
    it is named in `metadata.problem`. `beside` gives the texts of files beside the picture; it is only asked when the
    picture itself does not say what made it. Reads the file once, plus what lies around its texts. Raises OSError where the
    machine is at fault and no picture.
    """
    content_hash, source = hashed(file, size)
    try:
        container = read_container(source)
        metadata = _metadata(source, container, beside)
    except NotAPicture:
        raise
    except Exception as error:
        if is_machines_fault(error):
            raise
        # A bug in a container reader must cost one file, not the daemon; the traceback is what repairs it.
        log.exception("reading the header of %s failed", name)
        raise NotAPicture(f"reading the header failed ({type(error).__name__})") from error
    return ImageFacts(
        content_hash=content_hash,
        byte_count=source.size,
        format=container.format,
        width=container.width,
        height=container.height,
        frame_count=container.frame_count,
        metadata=metadata,
    )


def _metadata(source: Source, container: Container, beside: Callable[[], Sequence[RawChunk]]) -> Metadata:
    """What the texts say; then what is hidden in the pixels; then what lies beside the file."""
    metadata = parse(container.chunks, container.problems)
    if metadata.is_ai is None and container.format == "PNG" and (hidden := hidden_text(source)) is not None:
        metadata = parse((*container.chunks, hidden), container.problems)
    if metadata.is_ai is None and (more := beside()):
        metadata = parse((*container.chunks, *more), container.problems)
    return metadata
