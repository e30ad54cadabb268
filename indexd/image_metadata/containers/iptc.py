"""IPTC keywords: the IIM records (IIM 4.2) in the blocks that Photoshop wraps them in ("Photoshop File Formats", image resources)."""

from __future__ import annotations

from collections.abc import Iterator

from indexd.image_metadata.containers.text_collector import TextCollector

PHOTOSHOP_PREFIX = b"Photoshop 3.0\0"
_SIGNATURE, _IPTC_BLOCK = b"8BIM", 0x0404
_BLOCKS_MAX = 500
_RECORDS_MAX = 5000
_MARKER, _CHARACTER_SET, _KEYWORD = 0x1C, (1, 90), (2, 25)
_UTF8 = b"\x1b%G"


def add_photoshop_blocks(texts: TextCollector, data: bytes) -> None:
    """Keep the keywords of the IPTC block among image resources."""
    at = 0
    for _ in range(_BLOCKS_MAX):
        if data[at : at + 4] != _SIGNATURE or len(data) < at + 8:
            return
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        # The name has a length byte, and both together an even length.
        after_name = at + 6 + (data[at + 6] + 2) // 2 * 2
        length = int.from_bytes(data[after_name : after_name + 4], "big")
        if number == _IPTC_BLOCK:
            add_iptc(texts, data[after_name + 4 : after_name + 4 + length])
        at = after_name + 4 + length + length % 2


def add_iptc(texts: TextCollector, data: bytes) -> None:
    """Keep the keywords of IIM records, one a line."""
    keywords: list[bytes] = []
    encoding = None
    for number, value in _records(data):
        if number == _CHARACTER_SET and value == _UTF8:
            encoding = "utf-8"
        elif number == _KEYWORD:
            keywords.append(value.replace(b"\n", b" "))
    if keywords:
        texts.add("iptc:Keywords", b"\n".join(keywords), encoding)


def _records(data: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    at = 0
    for _ in range(_RECORDS_MAX):
        if len(data) < at + 5 or data[at] != _MARKER:
            return
        length = int.from_bytes(data[at + 3 : at + 5], "big")
        if length & 0x8000:  # an extended length: no keyword has one
            return
        yield (data[at + 1], data[at + 2]), data[at + 5 : at + 5 + length]
        at += 5 + length
