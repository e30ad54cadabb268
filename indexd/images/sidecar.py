"""Texts beside a picture: .txt and JSON of several programs with the same stem, and Fooocus' log of the whole folder.

A caption for training has the same name as an infotext: the readers tell them apart by what stands in them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from indexd.images.containers.encodings import decoded
from indexd.images.facts import Metadata, RawChunk
from indexd.images.fooocus_log import logged
from indexd.images.text_beside import bytes_beside

SIDECAR_BYTES_MAX = 1 << 20

KEYS = "sidecar:"
"""What the keys of all such texts begin with."""

_ENDINGS = (
    (b".txt", "sidecar:txt"),
    (b".json", "sidecar:json"),
    (b".swarm.json", "sidecar:json"),
    (b".civitai.info", "sidecar:civitai"),
)


def is_from_beside(metadata: Metadata) -> bool:
    """Whether all that is known of a picture's making stands beside it."""
    return (metadata.source or "").startswith(KEYS)


def sidecars(picture: bytes) -> Sequence[RawChunk]:
    """The texts beside a picture (its path as bytes); what cannot be opened is not there.

    Raises OSError where the machine is at fault: what stands in them would never be looked for again.
    """
    stem = os.path.splitext(picture)[0]
    chunks = []
    for ending, key in _ENDINGS:
        raw = bytes_beside(stem + ending, SIDECAR_BYTES_MAX + 1)
        if raw and len(raw) <= SIDECAR_BYTES_MAX:
            text, encoding = decoded(raw.removeprefix(b"\xef\xbb\xbf"))
            chunks.append(RawChunk(key, encoding, text))
    if (entry := logged(picture)) is not None:
        chunks.append(entry)
    return chunks
