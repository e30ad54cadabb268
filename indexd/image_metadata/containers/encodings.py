"""Detects the encoding of a metadata text: what the specifications say, and what programs really write."""

from __future__ import annotations

import codecs

_SAMPLE_BYTES = 4096


def decode_text(raw: bytes) -> tuple[str, str]:
    """The text and the name of its encoding: strict UTF-8, else Latin-1 (which every byte string is)."""
    try:
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return raw.decode("latin-1"), "latin-1"


def decode_user_comment(raw: bytes) -> tuple[str, str]:
    """The text of an EXIF UserComment and the name of its encoding.

    Eight bytes name the charset (Exif 2.32, 4.6.6), but Fooocus and some ComfyUI savers leave them out, and
    `UNICODE` is followed by UTF-16 in a byte order that is not the one of the TIFF around it.
    """
    prefix, body = raw[:8], raw[8:]
    if prefix == b"UNICODE\0":
        # A few writers put UTF-8 behind this prefix; UTF-16 of any prose has zero bytes, UTF-8 has none.
        if b"\0" not in body.rstrip(b"\0") and _is_utf8(body):
            return decode_text(body)
        name = detect_utf16(body)
        return body.decode(name, "replace").removeprefix("\ufeff"), name
    if prefix in (b"ASCII\0\0\0", b"\0" * 8):
        return decode_text(body)
    if prefix == b"JIS\0\0\0\0\0":
        return body.decode("iso2022_jp", "replace"), "iso2022_jp"
    if _zero_share(raw) > 0.25:
        name = detect_utf16(raw)
        return raw.decode(name, "replace").removeprefix("\ufeff"), name
    return decode_text(raw)


def detect_utf16(raw: bytes, default: str = "utf-16-be") -> str:
    """`utf-16-be` or `utf-16-le`, by its mark or by where the zero bytes of Latin letters stand."""
    if raw.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if raw.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    # A prompt may be all Chinese; the names of the settings, which come last, are not.
    sample = raw[:_SAMPLE_BYTES] + raw[-_SAMPLE_BYTES - len(raw) % 2 :] if len(raw) > _SAMPLE_BYTES else raw
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if even == odd:
        return default
    return "utf-16-be" if even > odd else "utf-16-le"


def _is_utf8(raw: bytes) -> bool:
    return decode_text(raw)[1] == "utf-8"


def _zero_share(raw: bytes) -> float:
    sample = raw[:_SAMPLE_BYTES].rstrip(b"\0")
    return sample.count(0) / len(sample) if sample else 0.0
