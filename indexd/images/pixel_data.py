"""The pixel data of an image file without everything else that the file contains.

Decoders refuse whole files over faults in data that they do not need: the checksum of a text, a colour profile, EXIF.
So they get only what determines pixels. Browsers and libpng pass over such faults too. Where the end of a file is
missing, the rest of the pixel data is filled with zeros, so that a decoder shows what is there.

Sources: PNG specification, third edition; ITU T.81, annex B; RFC 9649 (WebP); GIF89a; TIFF 6.0; ISO 23008-12 (AVIF).
"""

from __future__ import annotations

import binascii
import re
import struct
import zlib
from collections.abc import Callable, Iterator

from indexd.errors import NotAnImage
from indexd.image_metadata.budget import ReadBudget
from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers import avif, gif, jpeg, png, webp
from indexd.image_metadata.containers.exif import TiffDirectories
from indexd.image_metadata.containers.text_collector import Container

_INFLATE_BYTES = 1 << 20
_AVIF_FILLINGS = (b"\xff", b"\x80", b"\x55", b"\xaa", b"\x2d", b"\x33", b"\xcc")


def extract_pixel_data(data: bytes, container: Container) -> Iterator[bytes]:
    """Files of the same format from which a decoder gets the first frame of `data`; completed where it is cut off.

    `container` is what `read_container` says of `data`. There is one file, or several to try one after the other: the
    decoder of AV1 refuses one filling in three. Raises NotAnImage where the pixel data itself is damaged, or cut off
    before anything can be seen.
    """
    whole = _EXTRACTORS[container.format](data, container)
    yield whole
    if container.format == "AVIF" and container.is_cut_off:
        for dropped in (0, 8, 32, 128, len(data) // 8, len(data) // 3):
            for filling in _AVIF_FILLINGS:
                yield whole[: len(data) - dropped] + filling * (len(whole) - len(data) + dropped)


def _extract_png(data: bytes, container: Container) -> bytes:
    view, colour_type = memoryview(data), data[25]  # slices of it copy nothing
    pieces, pixels = [view[:33]], []
    for kind, offset, length in png.iter_chunks(ByteSource.from_bytes(data)):
        if kind not in (b"IDAT", b"PLTE", b"tRNS"):
            continue
        whole = view[offset - 8 : offset + length + 4]
        is_complete = len(whole) == length + 12
        is_intact = is_complete and binascii.crc32(whole[4:-4]) == int.from_bytes(whole[-4:], "big")
        if kind == b"IDAT":
            if is_complete and not is_intact:
                raise NotAnImage("cannot be decoded: a checksum of the pixel data is wrong")
            pixels.append(whole)
        elif not pixels and (kind == b"PLTE" or (is_intact and _fits(length, colour_type))):
            pieces.append(whole)
    if container.is_cut_off:
        stream = b"".join(whole[8 : 8 + int.from_bytes(whole[:4], "big")] for whole in pixels)
        return b"".join((*pieces, *_complete_png_stream(stream, data), _png_chunk(b"IEND", b"")))
    return b"".join((*pieces, *pixels, _png_chunk(b"IEND", b"")))


def _fits(length: int, colour_type: int) -> bool:
    """Whether a tRNS chunk has a length that this colour type allows (section 11.3.1.1)."""
    return length <= 256 if colour_type == 3 else length == {0: 2, 2: 6}.get(colour_type)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", binascii.crc32(body, binascii.crc32(kind)))


def _complete_png_stream(stream: bytes, data: bytes) -> list[bytes]:
    """Chunks of the compressed pixels with zeros for the rows that are missing."""
    wanted = sum(rows * row_bytes for rows, row_bytes in _png_passes(data))
    first_row = next(row_bytes for _, row_bytes in _png_passes(data))
    inflater, deflater = zlib.decompressobj(), zlib.compressobj(1)
    pieces, found = [], 0
    while stream and found < wanted and not inflater.eof:
        try:
            raw = inflater.decompress(stream, min(_INFLATE_BYTES, wanted - found))
        except zlib.error as error:
            raise NotAnImage("cannot be decoded: the compressed pixel data is damaged") from error
        stream = inflater.unconsumed_tail
        found += len(raw)
        pieces.append(deflater.compress(raw))
    if found < first_row:
        raise NotAnImage("cannot be decoded: the file ends before the first row of pixels")
    while found < wanted:
        missing = min(_INFLATE_BYTES, wanted - found)
        pieces.append(deflater.compress(bytes(missing)))
        found += missing
    return [_png_chunk(b"IDAT", piece) for piece in (*pieces, deflater.flush()) if piece]


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, and the steps between columns and rows of each pass (section 8.1)."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _png_passes(data: bytes) -> Iterator[tuple[int, int]]:
    """Of each pass of the image: the number of rows, and the bytes of a row with its filter byte."""
    width, height, depth, colour_type, interlace = png.read_header(ByteSource.from_bytes(data))
    for x, y, across, down in _ADAM7 if interlace else ((0, 0, 1, 1),):
        columns, rows = -((x - width) // across), -((y - height) // down)
        if columns > 0 and rows > 0:
            yield rows, 1 + (columns * depth * _CHANNELS[colour_type] + 7) // 8


_JPEG_KEPT = frozenset((*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD))
"""Tables, frame headers and scans (table B.1)."""
_JPEG_MARKER_WITH_LENGTH = re.compile(rb"\xff[\xc4\xda-\xdd\xe0-\xef\xfe]")
_JPEG_END = b"\xff\xd9"
_SEGMENT_BYTES_MAX = 1 << 16


def _extract_jpeg(data: bytes, container: Container) -> bytes:
    pieces = [data[:2]]
    for kind, offset, length in jpeg.iter_segments(ByteSource.from_bytes(data)):
        if kind in _JPEG_KEPT or _states_colours(kind, data[offset + 4 : offset + 2 + length]):
            pieces.append(data[offset : offset + 2 + length])
        if kind == jpeg.SCAN:
            rest = data[offset + 2 + length :]
            pieces.append(_complete_jpeg(rest) if container.is_cut_off else rest)
    return b"".join(pieces)


def _states_colours(kind: int, body: bytes) -> bool:
    """Whether an application segment says in which colours the image is stored."""
    return (kind == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 12) or (
        kind == 0xEE and body[:5] == b"Adobe" and len(body) >= 12
    )


def _complete_jpeg(scans: bytes) -> bytes:
    """The scans with an end marker; a segment between two scans that is cut off goes."""
    tail = max(0, len(scans) - _SEGMENT_BYTES_MAX)
    for marker in _JPEG_MARKER_WITH_LENGTH.finditer(scans, tail):
        length = scans[marker.end() : marker.end() + 2]
        if len(length) < 2 or marker.end() + int.from_bytes(length, "big") > len(scans):
            return scans[: marker.start()] + _JPEG_END
    return scans.removesuffix(b"\xff") + _JPEG_END


_WEBP_FLAGS_KEPT = 0x12  # animation and alpha; not ICC, EXIF and XMP, whose chunks are left out


def _extract_webp(data: bytes, container: Container) -> bytes:
    pieces = []
    for kind, offset, length in webp.iter_chunks(ByteSource.from_bytes(data)):
        body = data[offset : offset + length]
        if kind == b"VP8X" and len(body) >= 10:
            body = bytes((body[0] & _WEBP_FLAGS_KEPT,)) + body[1:]
        elif kind not in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"):
            continue
        missing = length - len(body)
        pieces.append(kind + struct.pack("<I", length) + body + _zeros(missing, container) + b"\0" * (length & 1))
        if kind in (b"VP8 ", b"VP8L", b"ANMF"):
            break
    content = b"WEBP" + b"".join(pieces)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _extract_gif(data: bytes, container: Container) -> bytes:
    """Header, colour tables and the first frame with the extension that states its transparent colour."""
    frame = gif.first_frame(ByteSource.from_bytes(data))
    if frame is None:
        raise NotAnImage("cannot be decoded: the file ends before its first frame")
    pixels = frame.data
    if frame.is_cut_off:
        # Code 0 is a colour in every code width, so zero bits fill the image; none is wider than 12 bits.
        blocks = container.width * container.height * 12 // 8 // 255 + 1
        pixels += bytes(frame.missing_bytes) + (b"\xff" + bytes(255)) * blocks + b"\0"
    return data[: frame.header_bytes] + frame.graphic_control + pixels + b";"


_TIFF_KEPT = frozenset(
    (*range(254, 260), 262, 266, 273, 274, *range(277, 285), 290, 291, 292, 293, 317, *range(320, 326))
)
_TIFF_KEPT |= frozenset((332, 334, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533)))
"""Tags of TIFF 6.0 that say how the pixels are stored and how they are turned."""


def _extract_tiff(data: bytes, container: Container) -> bytes:
    """The file with a second directory at its end, which has only the tags of the first one that pixels need."""
    order = "<" if data[:2] == b"II" else ">"
    directories = TiffDirectories.parse(ByteSource.from_bytes(data), ReadBudget())
    if directories is None:
        return data
    size_format, entry_bytes, offset_format = ("Q", 20, "Q") if directories.is_bigtiff else ("H", 12, "I")
    start = directories.first_offset + struct.calcsize(f"{order}{size_format}")
    count = len(directories.read_entries(directories.first_offset)[0])
    entries = [data[start + place * entry_bytes :][:entry_bytes] for place in range(count)]
    kept = [entry for entry in entries if struct.unpack(f"{order}H", entry[:2])[0] in _TIFF_KEPT]
    padding = _zeros(container.missing_bytes, container) + b"\0" * (len(data) + container.missing_bytes & 1)
    head = data[:8] if directories.is_bigtiff else data[:4]
    moved = head + struct.pack(f"{order}{offset_format}", len(data) + len(padding))
    directory = struct.pack(f"{order}{size_format}", len(kept)) + b"".join(kept) + bytes(8)
    return b"".join((moved, memoryview(data)[len(moved) :], padding, directory))


def _extract_avif(data: bytes, container: Container) -> bytes:
    """The file whose EXIF and XMP items have a type that decoders pass over."""
    changed = bytearray(data)
    for offset in avif.text_item_type_offsets(ByteSource.from_bytes(data)):
        changed[offset : offset + 4] = b"skip"
    return bytes(changed) + _zeros(container.missing_bytes, container)


def _extract_bmp(data: bytes, container: Container) -> bytes:
    return data + _zeros(container.missing_bytes, container)


def _zeros(count: int, container: Container) -> bytes:
    """So many zeros. Raises NotAnImage for more than an image of this size can take: a length field is wrong."""
    if count > 8 * container.width * container.height + (1 << 16):
        raise NotAnImage(f"cannot be decoded: {count} bytes are missing, which is more than the image can have")
    return bytes(max(0, count))


_EXTRACTORS: dict[str, Callable[[bytes, Container], bytes]] = {
    "PNG": _extract_png,
    "JPEG": _extract_jpeg,
    "WEBP": _extract_webp,
    "AVIF": _extract_avif,
    "GIF": _extract_gif,
    "BMP": _extract_bmp,
    "TIFF": _extract_tiff,
}
