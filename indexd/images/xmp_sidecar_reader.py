"""Reads XMP sidecars of other programs: the rating and the keywords that a person gave there."""

from __future__ import annotations

from indexd.image_metadata.containers.encodings import decode_text
from indexd.image_metadata.model import PhotoAnnotations
from indexd.image_metadata.photo_annotations import parse_xmp_annotations
from indexd.images.sidecar_bytes import SIDECAR_BYTES_MAX, read_sidecar_bytes
from indexd.images.xmp_sidecar_writer import XMP_NAMINGS, is_written_by_indexd, xmp_sidecar_path


def read_annotation_sidecar(image_path: bytes) -> PhotoAnnotations | None:
    """The rating and the keywords in the XMP sidecar of an image, `x.png.xmp` before `x.xmp`; None where there is none.

    Raises OSError where the machine is at fault: the sidecar would never be looked for again.
    """
    for naming in XMP_NAMINGS:
        found = read_xmp_file(xmp_sidecar_path(image_path, naming))
        if found is not None:
            return found
    return None


def read_xmp_file(path: bytes) -> PhotoAnnotations | None:
    """What a sidecar states. None where there is no such file, or where indexd wrote it: that one repeats the index."""
    raw = read_sidecar_bytes(path, SIDECAR_BYTES_MAX + 1)
    if raw is None or is_written_by_indexd(raw):
        return None
    return parse_xmp_annotations(decode_text(raw)[0]) or PhotoAnnotations()
