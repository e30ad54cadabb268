"""PNG: every chunk, those after the image data and after IEND included (PNG specification, third edition)."""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Iterator

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.c2pa import add_manifest
from indexd.image_metadata.containers.exif import add_exif
from indexd.image_metadata.containers.iptc import add_iptc, add_photoshop_blocks
from indexd.image_metadata.containers.text_collector import TEXT_BYTES_MAX, Container, TextCollector, build_container
from indexd.image_metadata.errors import UnreadableImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"

CHUNKS_WALKED_MAX = 200_000

BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""The bit depths that each colour type allows (section 11.2.1)."""

_TEXT_KINDS = frozenset((b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"caBX", b"acTL", b"comf"))
_PROFILE = re.compile(r"Raw profile type (exif|app1|xmp|iptc)", re.IGNORECASE)


def read_png(source: ByteSource) -> Container:
    """Size, frames and texts of a PNG. Raises UnreadableImage when the header is damaged or there is no image data."""
    width, height = read_header(source)[:2]
    texts = TextCollector()
    frame_count, has_pixels, has_end = 1, False, False
    for kind, offset, length in iter_chunks(source, after_end=True):
        if kind == b"IDAT":
            has_pixels = True
        elif kind == b"IEND":
            has_end = True
        elif kind in _TEXT_KINDS:
            # A compressed text may be small in the file: what comes out of it takes room, not what goes in.
            if length > TEXT_BYTES_MAX:
                texts.add_problem(f"the {kind.decode('ascii')} chunk of {length} bytes is left out")
                continue
            data = source.read_at(offset, length)
            if kind == b"acTL" and len(data) == 8:
                frame_count = int(struct.unpack(">II", data)[0])
            else:
                if binascii.crc32(data, binascii.crc32(kind)).to_bytes(4, "big") != source.read_at(offset + length, 4):
                    texts.add_problem(f"the checksum of a {kind.decode('ascii')} chunk is wrong")
                _add_chunk(texts, kind, data)
    if not has_pixels:
        raise UnreadableImage("the PNG ends before its image data")
    if not has_end:
        texts.note_end(source.size + 1, source.size)
    return build_container("PNG", width, height, frame_count, texts)


def read_header(source: ByteSource) -> tuple[int, int, int, int, int]:
    """Width, height, bit depth, colour type and interlace method. Raises UnreadableImage where they make no sense."""
    head = source.read_at(0, 33)
    if len(head) < 33 or head[12:16] != b"IHDR":
        raise UnreadableImage("the PNG ends before its header is complete")
    if binascii.crc32(head[12:29]) != int.from_bytes(head[29:33], "big"):
        raise UnreadableImage("the PNG header is damaged: its checksum is wrong")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", head[16:29])
    if depth not in BIT_DEPTHS.get(colour, ()):
        raise UnreadableImage(f"the PNG header states colour type {colour} with {depth} bits, which does not exist")
    return width, height, depth, colour, interlace


def iter_chunks(source: ByteSource, *, after_end: bool = False) -> Iterator[tuple[bytes, int, int]]:
    """Every chunk as (kind, offset of its data, length of its data); ends before IEND, at the end, or at nonsense.

    `after_end` yields IEND too and goes on after it: some tools append text chunks to a finished file.
    """
    offset = len(SIGNATURE)
    for _ in range(CHUNKS_WALKED_MAX):
        head = source.read_at(offset, 8)
        if len(head) < 8:
            return
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if not kind.isalpha() or (kind == b"IEND" and not after_end):
            return
        yield kind, offset + 8, length
        offset += 12 + length


def _add_chunk(texts: TextCollector, kind: bytes, data: bytes) -> None:
    if kind == b"eXIf":
        add_exif(texts, data)
        return
    if kind == b"caBX":
        add_manifest(texts, data)
        return
    keyword, _, rest = data.partition(b"\0")
    key = keyword.decode("latin-1")
    if kind == b"iTXt":
        compressed = rest[:1] == b"\1"
        body = rest[2:].split(b"\0", 2)
        if len(body) == 3:
            name = "xmp" if key == "XML:com.adobe.xmp" else f"png:{key}"
            (texts.add_compressed if compressed else texts.add)(name, body[2])
    elif kind == b"zTXt":
        if not _add_raw_profile(texts, key, rest[1:]):
            texts.add_compressed(f"png:{key}", rest[1:])
    else:
        texts.add(f"png:{key}", rest)


def _add_raw_profile(texts: TextCollector, key: str, deflated: bytes) -> bool:
    """ImageMagick keeps EXIF and XMP as hex digits in a text: newline, name, length, then the digits."""
    match = _PROFILE.fullmatch(key)
    if match is None:
        return False
    inflated = texts.inflate(key, deflated)
    if inflated is None:
        return True
    try:
        profile = binascii.unhexlify(inflated.split(b"\n", 3)[-1].translate(None, b" \t\r\n\v\f"))
    except ValueError:
        texts.add_problem(f"the text {key!r} is damaged")
        return True
    if match[1].lower() == "xmp":
        texts.add("xmp", profile)
    elif match[1].lower() == "iptc":
        (add_photoshop_blocks if profile.startswith(b"8BIM") else add_iptc)(texts, profile)
    else:
        add_exif(texts, profile)
    return True
