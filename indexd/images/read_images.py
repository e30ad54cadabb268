"""Reads image files in a reader process: whatever is wrong with one of them costs that file its metadata and no more."""

from __future__ import annotations

import dataclasses
import os
from typing import BinaryIO, Protocol

from indexd.errors import NotAnImage, NotRegularFile, is_transient_os_error
from indexd.fs.paths import display
from indexd.fs.safe_open import open_regular
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.images.image_reader import parse_metadata, read_image
from indexd.images.read_limits import ReadLimitReached, within_limits
from indexd.images.sidecar_texts import read_sidecars
from indexd.images.xmp_sidecar_reader import read_annotation_sidecar
from indexd.worker.calls import ImagesRead, ParseTexts, ReadFailure, ReadImages, StoredTexts, TextsParsed

SPARSE_BYTES_MIN = 64 << 20
SPARSE_RATIO = 64
"""A file that stores less than one part in so many of what it states is mostly holes; no image compresses like that."""


class ReadSession(Protocol):
    """The part of a worker's session (indexd.worker.session) that the calls of a reader process use."""

    def poll(self) -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None: ...


def read_images(call: ReadImages, session: ReadSession | None = None) -> ImagesRead:
    """Read each file of the call. Running it twice is harmless. Raises CallCancelled between two files."""
    results = []
    for number, path in enumerate(call.paths):
        if session is not None and number:
            session.poll()
            session.progress("read", number, len(call.paths))
        results.append(_read_file(call, path))
    return ImagesRead(tuple(results))


def parse_texts(call: ParseTexts, session: ReadSession | None = None) -> TextsParsed:
    """Parse the stored texts of each image of the call. Raises CallCancelled between two images."""
    found = []
    for stored in call.images:
        if session is not None:
            session.poll()
        found.append(_parse(stored))
    return TextsParsed(tuple(found))


def _read_file(call: ReadImages, path: bytes) -> ImageFacts | ReadFailure:
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            _check_size(status, call.max_bytes)
            return within_limits(status.st_size, lambda: _read(call, path, file, status.st_size))
    except NotRegularFile as error:
        return ReadFailure("not regular", str(error))
    except (NotAnImage, ReadLimitReached) as error:
        return ReadFailure("unreadable", str(error))
    except FileNotFoundError:
        return ReadFailure("missing", "it is gone")
    except OSError as error:
        if is_transient_os_error(error):
            return ReadFailure("system", error.strerror or str(error), error.errno or 0)
        return ReadFailure("unreadable", f"cannot be read: {error.strerror or error}")


def _read(call: ReadImages, path: bytes, file: BinaryIO, size: int) -> ImageFacts:
    if not call.with_sidecars:
        return read_image(file, size, display(path))
    facts = read_image(file, size, display(path), lambda: read_sidecars(path))
    return dataclasses.replace(facts, sidecar_annotations=read_annotation_sidecar(path))


def _check_size(status: os.stat_result, max_bytes: int) -> None:
    """Refuse files by their size alone: hashing a terabyte of holes takes hours."""
    size = status.st_size
    if size > max_bytes:
        raise NotAnImage(f"is {size / (1 << 20):.0f} MiB large; [watch] max_image_mib allows {max_bytes >> 20} MiB")
    stored = getattr(status, "st_blocks", None)
    if stored is not None and size >= SPARSE_BYTES_MIN and stored * 512 * SPARSE_RATIO < size:
        raise NotAnImage(f"is sparse: of its {size >> 20} MiB only {stored * 512 >> 20} MiB are stored")


def _parse(stored: StoredTexts) -> ImageMetadata:
    length = sum(len(chunk.text) for chunk in stored.chunks)
    try:
        metadata = within_limits(length, lambda: parse_metadata(stored.chunks, stored.problems, stored.image_size))
    except ReadLimitReached as error:
        return ImageMetadata(problem=str(error))
    return dataclasses.replace(metadata, raw=())
