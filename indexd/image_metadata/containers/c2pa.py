"""C2PA manifests ("Content Credentials"): which program made the image, and from what kind of source. Verifies nothing.

The manifest is JUMBF around CBOR (C2PA specification 2.2). Only three answers are wanted, so the CBOR is searched for
their keys instead of being decoded: a short text after a known key, whatever surrounds it.
"""

from __future__ import annotations

import json
import re

from indexd.image_metadata.containers.text_collector import TextCollector

_TEXT_BYTES_MAX = 400
_KEYS = ("digitalSourceType", "softwareAgent", "claim_generator")
_NAME_WINDOW = 64
_VALUES_MAX = 8


def add_manifest(texts: TextCollector, data: bytes) -> None:
    """Keep what a manifest says as one JSON text under the key `c2pa`."""
    found = {key: values for key in _KEYS if (values := _find_texts(data, key.encode("ascii")))}
    if found:
        texts.add("c2pa", json.dumps(found).encode("utf-8"), "utf-8")


def _find_texts(data: bytes, key: bytes) -> list[str]:
    values: list[str] = []
    for match in re.finditer(re.escape(key), data):
        text = _text_at(data, match.end()) or _name_in_map(data, match.end())
        if text and text not in values:
            values.append(text)
            if len(values) == _VALUES_MAX:
                break
    return values


def _name_in_map(data: bytes, offset: int) -> str | None:
    """Newer manifests write the agent as a map with a `name`."""
    if data[offset : offset + 1] and data[offset] >> 5 == 5:
        place = data.find(b"name", offset, offset + _NAME_WINDOW)
        if place >= 0:
            return _text_at(data, place + 4)
    return None


def _text_at(data: bytes, offset: int) -> str | None:
    """The CBOR text string at an offset (RFC 8949, major type 3), or None."""
    head = data[offset : offset + 3]
    if not head or head[0] >> 5 != 3:
        return None
    short = head[0] & 31
    if short < 24:
        start, length = offset + 1, short
    elif short == 24 and len(head) > 1:
        start, length = offset + 2, head[1]
    elif short == 25 and len(head) > 2:
        start, length = offset + 3, int.from_bytes(head[1:3], "big")
    else:
        return None
    if not 0 < length <= _TEXT_BYTES_MAX:
        return None
    return data[start : start + length].decode("utf-8", "replace")
