"""Ratings and keywords of photo programs are read from XMP, IPTC and EXIF; hostile packets state nothing."""

from __future__ import annotations

import io
import time

import pytest
from PIL import Image

from indexd.image_metadata.containers.iptc import add_iptc, add_photoshop_blocks
from indexd.image_metadata.containers.text_collector import TextCollector
from indexd.image_metadata.file_reader import read_image
from indexd.image_metadata.model import PhotoAnnotations
from indexd.image_metadata.photo_annotations import parse_xmp_annotations

NAMESPACES = (
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/"'
    ' xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"'
)


def packet(body: str = "", attributes: str = "") -> str:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF {NAMESPACES}><rdf:Description rdf:about="" {attributes}>{body}</rdf:Description></rdf:RDF>'
        '</x:xmpmeta><?xpacket end="w"?>'
    )


def bag(name: str, *words: str, kind: str = "Bag") -> str:
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in words)
    return f"<{name}><rdf:{kind}>{items}</rdf:{kind}></{name}>"


@pytest.mark.parametrize(
    ("text", "rating", "keywords"),
    [
        (packet(attributes='xmp:Rating="4"'), 4, ()),
        (packet("<xmp:Rating>5</xmp:Rating>"), 5, ()),
        (packet("<xmp:Rating>3.0</xmp:Rating>"), 3, ()),
        (packet(attributes='MicrosoftPhoto:Rating="75"'), 4, ()),
        (packet("<MicrosoftPhoto:Rating>99</MicrosoftPhoto:Rating>"), 5, ()),
        (packet("<MicrosoftPhoto:Rating>1</MicrosoftPhoto:Rating>"), 1, ()),
        (packet(attributes='xmp:Rating="2" MicrosoftPhoto:Rating="99"'), 2, ()),
        (packet(attributes='xmp:Rating="0"') + "", None, None),
        (packet(attributes='xmp:Rating="-1"'), None, None),
        (packet(attributes='xmp:Rating="9"'), None, None),
        (packet(attributes='xmp:Rating="many"'), None, None),
        (packet(bag("dc:subject", "sea", "red &amp; blue", " ")), None, ("sea", "red & blue")),
        (packet(bag("dc:subject", "女の子", "Sea", "sea")), None, ("女の子", "Sea")),
        (
            packet(
                bag("dc:subject", "animals", "cat", "night") + bag("lr:hierarchicalSubject", "animals|cat", "animals")
            ),
            None,
            ("animals/cat", "night"),
        ),
        (
            packet(bag("digiKam:TagsList", "people/Ada", "_Digikam_Internal_Tags_/Pick Label", kind="Seq")),
            None,
            ("people/Ada",),
        ),
        (packet(bag("MicrosoftPhoto:LastKeywordXMP", "places/lake")), None, ("places/lake",)),
        (packet(bag("lr:hierarchicalSubject", "darktable|exported", "keep")), None, ("keep",)),
        (packet("<dc:title>no</dc:title>"), None, None),
        ("not xml: Rating", None, None),
        (packet(attributes='xmp:Rating="4"')[:-40], None, None),
    ],
)
def test_xmp_states_a_rating_and_keywords(text: str, rating: int | None, keywords: tuple[str, ...] | None) -> None:
    expected = None if keywords is None else PhotoAnnotations(rating, keywords)
    assert parse_xmp_annotations(text) == expected


BOMB = '<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]>' + packet("<xmp:Rating>&b;</xmp:Rating>")


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        '<!DOCTYPE x SYSTEM "file:///etc/passwd">' + packet(attributes='xmp:Rating="4"'),
        packet("<a>" * 5000 + "Rating" + "</a>" * 5000),
        packet(bag("dc:subject", "x" * (1 << 20))),
        "Rating" + "<" * 100_000,
        "\0" * 1000 + "Rating",
    ],
    ids=["entities", "external", "deep", "long", "open", "nul"],
)
def test_a_hostile_packet_states_nothing_and_costs_little(text: str) -> None:
    began = time.process_time()
    assert parse_xmp_annotations(text) is None
    assert time.process_time() - began < 5


def test_keywords_are_bounded() -> None:
    found = parse_xmp_annotations(packet(bag("dc:subject", *(f"w{n}" for n in range(2000)), "y" * 900)))
    assert found is not None
    assert len(found.keywords) == 500
    assert max(map(len, found.keywords)) <= 200


def record(number: int, dataset: int, value: bytes) -> bytes:
    return bytes((0x1C, number, dataset)) + len(value).to_bytes(2, "big") + value


def test_iptc_keywords_are_kept_in_their_encoding() -> None:
    utf8, latin = TextCollector(), TextCollector()
    add_iptc(
        utf8, record(1, 90, b"\x1b%G") + record(2, 25, "Zürich".encode()) + record(2, 120, b"x") + record(2, 25, b"sea")
    )
    add_iptc(latin, record(2, 25, "Zürich".encode("latin-1")))
    assert [chunk.text for chunk in (*utf8.chunks, *latin.chunks)] == ["Zürich\nsea", "Zürich"]


@pytest.mark.parametrize(
    "data", [b"", b"8BIM", b"8BIM\x04\x04\xff", b"8BIM\x04\x04\0\0\xff\xff\xff\xff", b"\x1c\x02\x19\xff\xff"]
)
def test_damaged_image_resources_state_nothing(data: bytes) -> None:
    texts = TextCollector()
    add_photoshop_blocks(texts, data)
    add_iptc(texts, data)
    assert texts.chunks == []


def resources(iptc: bytes) -> bytes:
    """An image resource before the IPTC block, with names of odd and even length."""
    other = b"8BIM" + (1005).to_bytes(2, "big") + b"\x03abc" + (3).to_bytes(4, "big") + b"xyz\0"
    return other + b"8BIM" + (0x0404).to_bytes(2, "big") + b"\0\0" + len(iptc).to_bytes(4, "big") + iptc


def annotations_of(raw: bytes) -> PhotoAnnotations | None:
    return read_image(io.BytesIO(raw), len(raw), "x").metadata.annotations


def jpeg(segments: bytes = b"", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", **options)
    raw = out.getvalue()
    return raw[:2] + segments + raw[2:]


def segment(kind: int, data: bytes) -> bytes:
    return bytes((0xFF, kind)) + (len(data) + 2).to_bytes(2, "big") + data


def test_a_jpeg_states_its_xmp_and_its_iptc_keywords() -> None:
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet(bag("dc:subject", "sea"), 'xmp:Rating="4"').encode())
    iptc = segment(
        0xED, b"Photoshop 3.0\0" + resources(record(1, 90, b"\x1b%G") + record(2, 25, b"fog") + record(2, 25, b"Sea"))
    )
    assert annotations_of(jpeg(xmp + iptc)) == PhotoAnnotations(4, ("sea", "fog"))
    assert annotations_of(jpeg(iptc)) == PhotoAnnotations(None, ("fog", "Sea"))
    assert annotations_of(jpeg()) is None


def test_windows_tags_in_exif_are_read() -> None:
    exif = Image.Exif()
    exif[0x4746] = 3
    exif[0x9C9E] = "lake;夜".encode("utf-16-le") + b"\0\0"
    assert annotations_of(jpeg(exif=exif)) == PhotoAnnotations(3, ("lake", "夜"))


def test_a_png_and_a_tiff_state_their_keywords() -> None:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", packet(bag("dc:subject", "moss"), 'xmp:Rating="1"'))
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=texts)
    assert annotations_of(out.getvalue()) == PhotoAnnotations(1, ("moss",))
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "TIFF", tiffinfo={0x83BB: record(2, 25, b"moss")})
    assert annotations_of(out.getvalue()) == PhotoAnnotations(None, ("moss",))
