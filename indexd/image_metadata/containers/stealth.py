"""The form of texts that are hidden in the lowest bits of pixels ("stealth pnginfo"), wherever the bits come from.

Signature (15 bytes), length in bits (32, big-endian), then the text, plain or gzipped. The bits run down the columns from the
left; alpha carries one bit a pixel, RGB three.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from indexd.image_metadata.containers.encodings import decode_text
from indexd.image_metadata.containers.text_collector import TEXT_BYTES_MAX

STEALTH_CHUNK_KEY = "stealth:parameters"

SIGNATURE_BITS = 15 * 8
HEADER_BITS = SIGNATURE_BITS + 32

PLANES = {"alpha": (3,), "rgb": (0, 1, 2)}
_SIGNATURES = {
    "alpha": {b"stealth_pnginfo": False, b"stealth_pngcomp": True},
    "rgb": {b"stealth_rgbinfo": False, b"stealth_rgbcomp": True},
}


def read_stealth_payload(plane_kind: str, read_bits: Callable[[int], bytes | None]) -> tuple[str, str] | None:
    """The hidden text and the name of its encoding, or None.

    `read_bits(count)` returns the first `count` bits as bytes, or None if the image has fewer. The first read is short,
    because it already shows that most images hide no text.
    """
    if read_bits(8) != b"s":
        return None
    head = read_bits(HEADER_BITS)
    if head is None or head[:15] not in _SIGNATURES[plane_kind]:
        return None
    count = int.from_bytes(head[15:19], "big")
    if not 0 < count <= 8 * TEXT_BYTES_MAX or (whole := read_bits(HEADER_BITS + count)) is None:
        return None
    payload = whole[HEADER_BITS // 8 :]
    if not _SIGNATURES[plane_kind][head[:15]]:
        return decode_text(payload)
    try:
        return decode_text(zlib.decompressobj(31).decompress(payload, TEXT_BYTES_MAX))
    except zlib.error:
        return None
