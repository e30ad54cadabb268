"""Texts beside a picture with the same stem: A1111's and Easy Diffusion's .txt, JSON of several programs.

A caption for training has the same name as an infotext: the readers tell them apart by what stands in them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from indexd.errors import NotRegular
from indexd.images.containers.encodings import decoded
from indexd.images.facts import RawChunk
from indexd.watch.regular import open_regular

SIDECAR_BYTES_MAX = 1 << 20

_ENDINGS = ((b".txt", "sidecar:txt"), (b".json", "sidecar:json"), (b".swarm.json", "sidecar:json"))


def sidecars(picture: bytes) -> Sequence[RawChunk]:
    """The texts beside a picture (its path as bytes); what cannot be opened is not there."""
    stem = os.path.splitext(picture)[0]
    chunks = []
    for ending, key in _ENDINGS:
        try:
            with open_regular(stem + ending) as file:
                raw = file.read(SIDECAR_BYTES_MAX + 1)
        except (OSError, NotRegular, ValueError):
            continue
        if raw and len(raw) <= SIDECAR_BYTES_MAX:
            text, encoding = decoded(raw.removeprefix(b"\xef\xbb\xbf"))
            chunks.append(RawChunk(key, encoding, text))
    return chunks
