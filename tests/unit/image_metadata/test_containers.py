"""Size, frames and texts of every container, against what real programs write and against Pillow's own reading."""

from __future__ import annotations

import binascii
import io
import json
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from indexd.image_metadata import budget, byte_source
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.file_reader import read_image
from tests.unit.image_metadata.writers import (
    SIGNATURE,
    chunk,
    facts,
    itxt,
    jpeg,
    png,
    segment,
    text,
    texts,
    tiff,
    user_comment,
    webp,
    ztxt,
)


def saved(name: str, size: tuple[int, int] = (31, 17), mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, name, **options)
    return out.getvalue()


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_format_and_size_are_those_of_the_header(name: str) -> None:
    found = facts(saved(name))
    assert (found.format, found.width, found.height, found.frame_count) == (name, 31, 17, 1)
    assert len(found.content_hash) == 32
    assert found.metadata.is_ai is None


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_of_both_codecs_and_with_alpha(lossless: bool) -> None:
    assert facts(saved("WEBP", lossless=lossless)).width == 31
    assert facts(saved("WEBP", mode="RGBA", lossless=lossless)).height == 17


@pytest.mark.parametrize("name", ["PNG", "WEBP", "GIF", "TIFF"])
def test_frames_are_counted(name: str) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 120, 250)]
    found = facts(saved_frames(frames, name))
    assert found.frame_count == 3


def saved_frames(frames: list[Image.Image], name: str) -> bytes:
    out = io.BytesIO()
    frames[0].save(out, name, save_all=True, append_images=frames[1:])
    return out.getvalue()


def test_a_file_that_is_read_in_blocks_has_the_same_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png(text("a", "b"), after=[itxt("parameters", "c\nSteps: 1, Seed: 2")])
    whole = facts(data)
    monkeypatch.setattr(byte_source, "IN_MEMORY_BYTES_MAX", 0)
    assert facts(data) == whole


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_a_file_that_grows_while_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(byte_source, "IN_MEMORY_BYTES_MAX", limit)
    data = png()
    with pytest.raises(UnreadableImage, match="changed while it was read"):
        read_image(io.BytesIO(data + b"more"), len(data), "growing.png")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"GIF9", "none of PNG"),
        (b"hello", "none of PNG"),
        (b"\0\0\0\x20ftypheic" + bytes(20), "none of PNG"),
        (SIGNATURE + bytes(10), "ends before its header"),
        (SIGNATURE.replace(b"\r\n", b"\n") + bytes(40), "none of PNG"),
        (png()[:34], "ends before its image data"),
        (b"\xff\xd8\xff\xd9", "ends before it states its size"),
        (b"RIFF\x04\0\0\0WEBP", "ends before it states its size"),
        (b"\0\0\0\x10ftypavif\0\0\0\0", "ends before it states its size"),
        (b"GIF89a" + bytes(7), "a size of 0x0"),
        (b"BM" + bytes(40), "of no known version"),
        (b"II*\0\x08\0\0\0\0\0", "ends before it states its size"),
    ],
)
def test_what_is_no_picture_has_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        facts(data)


def test_a_png_header_must_make_sense() -> None:
    good = png()
    with pytest.raises(UnreadableImage, match="checksum"):
        facts(good[:16] + b"\1" + good[17:])
    nonsense = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 3, 2, 0, 0, 0))
    with pytest.raises(UnreadableImage, match="colour type 2 with 3 bits"):
        facts(SIGNATURE + nonsense + good[33:])
    empty = chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 9, 8, 2, 0, 0, 0))
    with pytest.raises(UnreadableImage, match="0x9 pixels"):
        facts(SIGNATURE + empty + good[33:])


def test_a_bmp_may_have_its_top_row_first() -> None:
    data = bytearray(saved("BMP"))
    data[22:26] = struct.pack("<i", -17)
    assert facts(bytes(data)).height == 17


def test_png_texts_in_every_dress() -> None:
    found = texts(
        png(
            text("plain", b"caf\xe9"),
            text("bytes", "カフェ".encode()),
            itxt("international", "テスト"),
            itxt("squeezed", "テスト", compressed=True),
            after=[ztxt("late", b"after the picture"), text("padded", b"{}\0\0\0")],
        )
    )
    assert found == {
        "png:plain": "café",
        "png:bytes": "カフェ",
        "png:international": "テスト",
        "png:squeezed": "テスト",
        "png:late": "after the picture",
        "png:padded": "{}",
    }


def test_a_png_that_ends_too_early_still_has_its_texts() -> None:
    assert texts(png(text("parameters", "x"), end=False)[:-3]) == {"png:parameters": "x"}


def test_exif_inside_png_and_imagemagicks_hex_profile() -> None:
    exif = user_comment(b"ASCII\0\0\0from exif")
    assert texts(png(chunk(b"eXIf", exif))) == {"exif:UserComment": "from exif"}
    digits = binascii.hexlify(b"Exif\0\0" + exif)
    profile = b"\nexif\n%8d\n" % len(exif) + digits[:30] + b"\n" + digits[30:] + b"\n"
    assert texts(png(ztxt("Raw profile type exif", profile))) == {"exif:UserComment": "from exif"}
    assert facts(png(ztxt("Raw profile type exif", b"\nexif\n3\nzz"))).metadata.problem is not None


def test_compressed_bombs_stop_at_the_limit_and_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "TEXT_BYTES_MAX", 1000)
    metadata = facts(png(ztxt("bomb", bytes(50_000_000)), ztxt("small", b"kept"))).metadata
    assert [item.key for item in metadata.raw] == ["png:small"]
    assert metadata.problem is not None
    assert "png:bomb" in metadata.problem


def test_a_damaged_text_is_named_and_the_picture_kept() -> None:
    metadata = facts(png(chunk(b"zTXt", b"key\0\0nonsense"), text("good", "yes"))).metadata
    assert metadata.problem == "the compressed text png:key is damaged"
    assert metadata.raw[0].text == "yes"


def test_all_texts_together_are_bounded() -> None:
    fifth = "x" * (budget.TEXTS_BYTES_MAX // 5 * 2)
    assert set(texts(png(*(text(f"k{number}", fifth) for number in range(5))))) == {"png:k0", "png:k1"}
    many = facts(png(*(text(f"k{number}", "x") for number in range(budget.CHUNK_COUNT_MAX + 50)))).metadata
    assert len(many.raw) == budget.CHUNK_COUNT_MAX


def test_text_chunks_after_the_end_of_a_png_are_read() -> None:
    assert texts(png() + text("parameters", "appended")) == {"png:parameters": "appended"}


def test_the_comf_chunks_of_animated_pngs_are_read() -> None:
    assert texts(png(after=[chunk(b"comf", b'prompt\0{"3": 1}')])) == {"png:prompt": '{"3": 1}'}


def test_a_graph_is_found_in_any_text_tag_of_exif_and_other_texts_there_are_not_kept() -> None:
    graph = b'Workflow: {"nodes": []}   '
    assert texts(webp(tiff({0x8298: graph}))) == {"exif:0x8298": graph.decode()}
    assert texts(webp(tiff({0x8298: b"(c) 2024 somebody who takes photographs"}))) == {}


WORDS = "1girl, テスト\nSteps: 20, Seed: 1"


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [
        (b"UNICODE\0" + WORDS.encode("utf-16-be"), "utf-16-be"),
        (b"UNICODE\0" + WORDS.encode("utf-16-le"), "utf-16-le"),
        (b"UNICODE\0" + WORDS.encode("utf-16-be") + b"\0\0", "utf-16-be"),
        (b"UNICODE\0" + b"\xff\xfe" + WORDS.encode("utf-16-le"), "utf-16-le"),
        (b"UNICODE\0" + WORDS.encode(), "utf-8"),
        (b"ASCII\0\0\0" + WORDS.encode(), "utf-8"),
        (bytes(8) + WORDS.encode(), "utf-8"),
        (WORDS.encode() + b"\0", "utf-8"),
        (WORDS.encode("utf-16-le"), "utf-16-le"),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_user_comments_whatever_their_charset_and_byte_order(raw: bytes, encoding: str, order: str) -> None:
    kept = facts(jpeg(user_comment(raw, order))).metadata.raw[0]
    assert (kept.key, kept.text, kept.encoding) == ("exif:UserComment", WORDS, encoding)


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_webp_exif_with_and_without_its_prefix(prefix: bytes) -> None:
    assert texts(webp(prefix + tiff({0x010F: b"workflow:{}\0", 0x0110: b"prompt:{}\0"}))) == {
        "exif:Make": "workflow:{}",
        "exif:Model": "prompt:{}",
    }


def test_nuls_around_an_image_description_are_dropped() -> None:
    assert texts(webp(tiff({0x010E: b"\0\0\0\0a duck\0"}))) == {"exif:ImageDescription": "a duck"}


def test_a_damaged_exif_block_is_named() -> None:
    assert facts(jpeg(b"nonsense")).metadata.problem == "the EXIF block is damaged"


def test_an_exif_directory_that_points_at_itself_ends() -> None:
    looped = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHII", 0x8769, 4, 1, 8) + struct.pack(">I", 8)
    assert facts(jpeg(looped)).metadata.raw == ()


def test_maker_notes_are_kept_only_when_they_are_words() -> None:
    exif = tiff({}, {0x927C: b"fooocus"})
    assert texts(jpeg(exif)) == {"exif:MakerNote": "fooocus"}
    assert texts(jpeg(tiff({}, {0x927C: bytes(range(200))}))) == {}


def test_jpeg_comments_xmp_and_a_wrong_segment_length() -> None:
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
    assert texts(jpeg(extra=segment(0xFE, b"saved again") + segment(0xE1, xmp))) == {
        "jpeg:comment": "saved again",
        "xmp": "<x:xmpmeta/>",
    }
    assert facts(jpeg(extra=segment(0xFE, b"word") + b"junk between\0")).width == 3


def test_gif_comments_and_xmp() -> None:
    data = saved("GIF", comment=b"words of " + b"x" * 300)
    assert texts(data)["gif:comment"] == "words of " + "x" * 300
    packet = b"<x:xmpmeta>" + b"y" * 500 + b"</x:xmpmeta>"
    trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    extension = b"\x21\xff\x0bXMP DataXMP" + packet + trailer
    head = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    found = facts(data[:head] + extension + data[head:])
    assert found.metadata.raw[0].text == packet.decode()
    assert found.frame_count == 1


def test_avif_exif_and_xmp() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a duck"
    data = saved("AVIF", exif=exif.tobytes(), xmp=b"<x:xmpmeta/>")
    assert texts(data) == {"exif:ImageDescription": "a duck", "xmp": "<x:xmpmeta/>"}


def test_tiff_texts_and_raw_files_of_cameras() -> None:
    out = io.BytesIO()
    tags = {270: "a duck\nSteps: 3, Sampler: x, Seed: 5"}
    Image.new("L", (9, 9)).save(out, "TIFF", tiffinfo=tags)
    assert facts(out.getvalue()).metadata.seed == "5"
    raw = tiff({256: b"\0\0\0\x09", 257: b"\0\0\0\x09", 0xC612: b"\1\4\0\0"}, kinds={256: 4, 257: 4, 0xC612: 1})
    with pytest.raises(UnreadableImage, match="camera raw"):
        facts(raw)


def test_tiff_pages_that_point_in_a_circle_end() -> None:
    entry = struct.pack("<HHII", 256, 4, 1, 9) + struct.pack("<HHII", 257, 4, 1, 9)
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + entry + struct.pack("<I", 8)
    assert facts(data).frame_count == 2


def manifest(source: str, agent: bytes) -> bytes:
    """CBOR as it stands in a manifest: two keys with short texts."""

    def word(value: bytes) -> bytes:
        return bytes((0x78, len(value))) + value

    return b"jumb" + word(b"digitalSourceType") + word(source.encode()) + b"\x6dsoftwareAgent" + agent


AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.mark.parametrize("agent", [b"\x69gpt-image", b"\xa1dname\x69gpt-image"])
def test_c2pa_manifests_say_who_made_it(agent: bytes) -> None:
    data = manifest(AI, agent)
    for picture in (png(chunk(b"caBX", data)), jpeg(extra=segment(0xEB, b"JP\0\1\0\0\0\1" + data))):
        metadata = facts(picture).metadata
        assert (metadata.is_ai, metadata.generator, metadata.prompt) == ("c2pa", "gpt-image", None)
        assert json.loads(metadata.raw[0].text)["digitalSourceType"] == [AI]
    camera = AI.replace("trainedAlgorithmicMedia", "digitalCapture")
    assert facts(png(chunk(b"caBX", manifest(camera, agent)))).metadata.is_ai is None


def test_a_manifest_in_several_jpeg_segments_is_joined() -> None:
    data = b"\0\0\1\0jumb" + manifest(AI, b"\x69gpt-image")
    cut = 40
    pieces = (b"JP\0\1\0\0\0\1" + data[:cut], b"JP\0\1\0\0\0\2" + data[:8] + data[cut:])
    assert facts(jpeg(extra=b"".join(segment(0xEB, piece) for piece in pieces))).metadata.is_ai == "c2pa"


def test_texts_agree_with_what_pillow_reads() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("one", "x" * 2000, zip=True)
    info.add_itxt("two", "日本", zip=True)
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "PNG", pnginfo=info)
    with Image.open(io.BytesIO(out.getvalue())) as opened:
        opened.load()
        theirs = {f"png:{key}": str(value) for key, value in opened.info.items()}
    assert texts(out.getvalue()) == theirs


def test_zlib_streams_are_not_needed_to_read_a_header() -> None:
    broken = SIGNATURE + png()[8:33] + chunk(b"IDAT", zlib.compress(b"")[:3]) + chunk(b"IEND", b"")
    assert facts(broken).width == 3
