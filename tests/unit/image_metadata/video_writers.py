"""Videos for the tests, made byte by byte: all that is read of them, and no frames."""

from __future__ import annotations

import struct


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def mp4(*inside_moov: bytes, brand: bytes = b"isom") -> bytes:
    """An MP4 with one video track of 64x48 and three frames, without the frames."""
    header = box(b"tkhd", bytes(76), struct.pack(">II", 64 << 16, 48 << 16))
    table = box(b"stbl", box(b"stsz", bytes(8), struct.pack(">I", 3)))
    track = box(b"trak", header, box(b"mdia", box(b"minf", table)))
    return box(b"ftyp", brand, bytes(4), brand) + box(b"moov", track, *inside_moov)


def text_box(value: str) -> bytes:
    return box(b"data", struct.pack(">II", 1, 0), value.encode())


def comment(value: str) -> bytes:
    """As `ffmpeg -metadata comment=…` writes it."""
    return box(b"udta", box(b"meta", bytes(4), box(b"hdlr", bytes(25)), box(b"ilst", box(b"\xa9cmt", text_box(value)))))


def tags(values: dict[str, str]) -> bytes:
    """As ffmpeg writes it with `-movflags use_metadata_tags`, and ComfyUI's SaveVideo."""
    keys = b"".join(box(b"mdta", name.encode()) for name in values)
    items = b"".join(
        struct.pack(">II", len(text_box(value)) + 8, number) + text_box(value)
        for number, value in enumerate(values.values(), 1)
    )
    listed = box(b"keys", bytes(4), struct.pack(">I", len(values)), keys)
    return box(b"meta", bytes(4), box(b"hdlr", bytes(25)), listed, box(b"ilst", items))


def element(kind: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    name = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    return name + (len(body) | 1 << 56).to_bytes(8, "big") + body


def webm(values: dict[str, str], size: tuple[int, int] = (64, 48)) -> bytes:
    video = element(0xE0, element(0xB0, struct.pack(">H", size[0])), element(0xBA, struct.pack(">H", size[1])))
    simple = [
        element(0x67C8, element(0x45A3, name.encode()), element(0x4487, value.encode()))
        for name, value in values.items()
    ]
    tracks = element(0x1654AE6B, element(0xAE, video))
    return element(0x1A45DFA3, b"") + element(0x18538067, tracks, element(0x1254C367, element(0x7373, *simple)))
