"""Texts beside an image: .txt and JSON of several programs with the same stem, and Fooocus' log of the whole folder.

A caption for training has the same name as an infotext: the readers tell them apart by what stands in them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from indexd.image_metadata.containers.encodings import decode_text
from indexd.image_metadata.model import ImageMetadata, RawChunk
from indexd.images.fooocus_log import find_log_entry
from indexd.images.sidecar_bytes import SIDECAR_BYTES_MAX, read_sidecar_bytes

SIDECAR_KEY_PREFIX = "sidecar:"
"""What the keys of all such texts begin with."""

_SUFFIXES = (
    (b".txt", "sidecar:txt"),
    (b".json", "sidecar:json"),
    (b".swarm.json", "sidecar:json"),
    (b".civitai.info", "sidecar:civitai"),
)


def is_from_sidecar(metadata: ImageMetadata) -> bool:
    """Whether all that is known of an image's making stands beside it."""
    return (metadata.source or "").startswith(SIDECAR_KEY_PREFIX)


def read_sidecars(image_path: bytes) -> Sequence[RawChunk]:
    """The texts beside an image (its path as bytes); what cannot be opened is not there.

    Raises OSError where the machine is at fault: what stands in them would never be looked for again.
    """
    stem = os.path.splitext(image_path)[0]
    chunks = []
    for ending, key in _SUFFIXES:
        raw = read_sidecar_bytes(stem + ending, SIDECAR_BYTES_MAX + 1)
        if raw and len(raw) <= SIDECAR_BYTES_MAX:
            text, encoding = decode_text(raw.removeprefix(b"\xef\xbb\xbf"))
            chunks.append(RawChunk(key, encoding, text))
    if (entry := find_log_entry(image_path)) is not None:
        chunks.append(entry)
    return chunks
