"""AVIF: the `meta` box of the ISO base media file format (ISO 14496-12, 23008-12): size, EXIF, XMP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.c2pa import add_manifest
from indexd.image_metadata.containers.exif import add_exif
from indexd.image_metadata.containers.text_collector import TEXT_BYTES_MAX, Container, TextCollector, build_container
from indexd.image_metadata.errors import UnreadableImage

BRANDS = frozenset((b"avif", b"avis"))

BOXES_MAX = 10_000
META_BYTES_MAX = 4 << 20
EXTENTS_MAX = 4_000
"""Pieces of all items together; an image of 16K in tiles has about 1 000."""

_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


@dataclass(slots=True)
class _MetaBox:
    """What the boxes inside `meta` said: items by id, properties in file order, which item has which."""

    primary_item: int = 0
    item_types: dict[int, bytes] = field(default_factory=dict)
    item_locations: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    property_sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    item_properties: dict[int, list[int]] = field(default_factory=dict)


def is_avif(head: bytes) -> bool:
    """Whether a file that begins so is an AVIF (by its major or a compatible brand)."""
    if head[4:8] != b"ftyp":
        return False
    brands = head[8 : min(len(head), int.from_bytes(head[:4], "big"))]
    return any(brands[place : place + 4] in BRANDS for place in range(0, len(brands), 4) if place != 4)


def read_avif(source: ByteSource) -> Container:
    """Size and texts of an AVIF. Raises UnreadableImage when no size is stated."""
    texts = TextCollector()
    size: tuple[int, int] | None = None
    end = 0
    for kind, offset, length in iter_boxes(source, 0, source.size):
        end = offset + length
        if kind == b"meta" and size is None:
            meta = _parse_meta_box(ByteSource.from_bytes(source.read_at(offset, min(length, META_BYTES_MAX))))
            size = _primary_size(meta)
            _add_text_items(source, meta, texts)
        elif kind == b"uuid" and length <= TEXT_BYTES_MAX and source.read_at(offset, 16) == _C2PA_UUID:
            add_manifest(texts, source.read_at(offset + 16, length - 16))
    if size is None:
        raise UnreadableImage("the AVIF ends before it states its size")
    texts.note_end(end, source.size)
    return build_container("AVIF", size[0], size[1], 1, texts)


def iter_boxes(source: ByteSource, offset: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes between two offsets as (kind, offset of the content, length of the content)."""
    for _ in range(BOXES_MAX):
        head = source.read_at(offset, 16)
        if len(head) < 8 or offset >= end:
            return
        length, kind, header_bytes = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, header_bytes = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = end - offset
        if length < header_bytes:
            return
        yield kind, offset + header_bytes, length - header_bytes
        offset += length


def _parse_meta_box(source: ByteSource) -> _MetaBox:
    meta = _MetaBox()
    for kind, offset, length in iter_boxes(source, 4, source.size):
        body = source.read_at(offset, length)
        if kind == b"pitm":
            meta.primary_item = int.from_bytes(body[4:6] if body[:1] == b"\0" else body[4:8], "big")
        elif kind == b"iinf":
            _read_item_info(source, offset, length, meta)
        elif kind == b"iloc":
            _read_item_locations(body, meta)
        elif kind == b"iprp":
            for inner, place, count in iter_boxes(source, offset, offset + length):
                if inner == b"ipco":
                    _read_spatial_extents(source, place, count, meta)
                elif inner == b"ipma":
                    _read_associations(source.read_at(place, count), meta)
    return meta


def text_item_type_offsets(source: ByteSource) -> list[int]:
    """The offsets in the file of the item types (4 bytes each) of the items that hold EXIF and XMP."""
    return [
        offset
        for box, place, length in iter_boxes(source, 0, source.size)
        if box == b"meta"
        for kind, inner, count in iter_boxes(source, place + 4, place + length)
        if kind == b"iinf"
        for _, rest, offset in _iter_items(source, inner, count)
        if rest[:4] in (b"Exif", b"mime")
    ]


def _iter_items(source: ByteSource, offset: int, length: int) -> Iterator[tuple[int, bytes, int]]:
    """The items of an `iinf` box as (id, item type and what follows, offset of the item type)."""
    start = offset + (6 if source.read_at(offset, 1) == b"\0" else 8)
    for kind, place, count in iter_boxes(source, start, offset + length):
        body = source.read_at(place, min(count, 512))
        if kind != b"infe" or len(body) < 12 or body[0] not in (2, 3):
            continue
        wide = 4 if body[0] == 3 else 2
        yield int.from_bytes(body[4 : 4 + wide], "big"), body[4 + wide + 2 :], place + 4 + wide + 2


def _read_item_info(source: ByteSource, offset: int, length: int, meta: _MetaBox) -> None:
    for item, rest, _ in _iter_items(source, offset, length):
        name_and_type = rest[4:].split(b"\0")
        is_xmp = rest[:4] == b"mime" and len(name_and_type) > 1 and name_and_type[1] == b"application/rdf+xml"
        meta.item_types[item] = b"xmp" if is_xmp else rest[:4]


class _IntegerReader:
    """Big-endian numbers one after the other; zeros behind the end."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self._offset = place

    def take(self, count: int) -> int:
        """The next number of `count` bytes (0 bytes = 0)."""
        piece = self._data[self._offset : self._offset + count]
        self._offset += count
        return int.from_bytes(piece, "big")

    @property
    def is_exhausted(self) -> bool:
        """Whether everything was taken."""
        return self._offset >= len(self._data)


def _read_item_locations(body: bytes, meta: _MetaBox) -> None:
    if len(body) < 8:
        return
    version = body[0]
    offset_bytes, length_bytes = body[4] >> 4, body[4] & 15
    base_bytes, index_bytes = body[5] >> 4, body[5] & 15 if version else 0
    numbers = _IntegerReader(body, 6)
    extents_left = EXTENTS_MAX
    for _ in range(min(numbers.take(4 if version == 2 else 2), BOXES_MAX)):
        if numbers.is_exhausted:
            return
        item = numbers.take(4 if version == 2 else 2)
        method = numbers.take(2) & 15 if version else 0
        numbers.take(2)
        base = numbers.take(base_bytes)
        places = []
        for _ in range(numbers.take(2)):
            # With fields of no width an extent takes no bytes, so the end of the box alone is no bound.
            if numbers.is_exhausted or extents_left <= 0:
                break
            extents_left -= 1
            numbers.take(index_bytes)
            places.append((base + numbers.take(offset_bytes), numbers.take(length_bytes)))
        if method == 0:  # 1 = inside `meta`, 2 = inside another item: no encoder was seen to do so for texts
            meta.item_locations[item] = places


def _read_spatial_extents(source: ByteSource, offset: int, length: int, meta: _MetaBox) -> None:
    for index, (kind, place, _) in enumerate(iter_boxes(source, offset, offset + length), start=1):
        if kind == b"ispe":
            body = source.read_at(place, 12)
            meta.property_sizes[index] = int.from_bytes(body[4:8], "big"), int.from_bytes(body[8:12], "big")


def _read_associations(body: bytes, meta: _MetaBox) -> None:
    if len(body) < 8:
        return
    wide_items, wide_indices = body[0] > 0, body[3] & 1
    numbers = _IntegerReader(body, 4)
    for _ in range(min(numbers.take(4), BOXES_MAX)):
        item = numbers.take(4 if wide_items else 2)
        mask = 0x7FFF if wide_indices else 0x7F
        meta.item_properties[item] = [numbers.take(2 if wide_indices else 1) & mask for _ in range(numbers.take(1))]
        if numbers.is_exhausted:
            return


def _primary_size(meta: _MetaBox) -> tuple[int, int] | None:
    for index in meta.item_properties.get(meta.primary_item, []):
        if index in meta.property_sizes:
            return meta.property_sizes[index]
    return max(meta.property_sizes.values(), default=None)


def _add_text_items(source: ByteSource, meta: _MetaBox, texts: TextCollector) -> None:
    for item, kind in meta.item_types.items():
        places = meta.item_locations.get(item, [])
        if kind not in (b"Exif", b"xmp") or not texts.has_room(kind.decode(), sum(length for _, length in places)):
            continue
        data = b"".join(source.read_at(offset, length) for offset, length in places)
        if kind == b"xmp":
            texts.add("xmp", data)
        else:
            # Four bytes say how far behind them the TIFF header stands.
            add_exif(texts, data[4 + int.from_bytes(data[:4], "big") :])
