"""Fooocus' `log.html`: images that carry nothing themselves have an entry there, in the folder where they were saved."""

from __future__ import annotations

import os
import re

from indexd.image_metadata.containers.encodings import decode_text
from indexd.image_metadata.model import RawChunk
from indexd.images.sidecar_bytes import read_sidecar_bytes
from indexd.watch.sidecar_names import FOOOCUS_LOG_NAME

LOG_CHUNK_KEY = "sidecar:log.html"

LOG_BYTES_MAX = 32 << 20
"""A day of images, a few thousand bytes each; what lies further down are the day's first ones."""

ENTRY_BYTES_MAX = 256 << 10

_ENTRY = re.compile(rb"<div id=[\"'][^\"'<>]{1,300}[\"'] class=[\"']image-container[\"']")


def find_log_entry(image_path: bytes) -> RawChunk | None:
    """The entry of an image (its path as bytes) in the log beside it, as it stands there; None where there is none.

    Raises OSError where the machine is at fault.
    """
    folder, name = os.path.split(image_path)
    log = read_sidecar_bytes(os.path.join(folder, FOOOCUS_LOG_NAME), LOG_BYTES_MAX)
    if log is None:
        return None
    for quote in (b"'", b'"'):
        place = log.find(b"href=" + quote + name + quote)
        if place < 0:
            continue
        before = max(0, place - 1000)
        start = max((match.start() for match in _ENTRY.finditer(log, before, place)), default=None)
        if start is None:
            continue
        following = _ENTRY.search(log, place, start + ENTRY_BYTES_MAX)
        end = following.start() if following else start + ENTRY_BYTES_MAX
        text, encoding = decode_text(log[start:end])
        return RawChunk(LOG_CHUNK_KEY, encoding, text)
    return None
