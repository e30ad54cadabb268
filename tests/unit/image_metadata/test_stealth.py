"""Texts hidden in pixels: alpha and RGB, plain and gzipped, under every filter of PNG."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from indexd.fs.file_stamp import FileStamp, SettledFile
from indexd.image_metadata.containers import stealth, stealth_png
from indexd.image_metadata.containers.text_collector import CUT_OFF
from indexd.images import decode
from indexd.images.decode import decode_image, make_thumbnails
from indexd.indexing.decoded_images import DecodedImages
from indexd.indexing.stages.index_stage import StageContext, ThumbnailTarget
from indexd.indexing.stages.thumbnail import THUMBNAIL, ThumbnailStage
from indexd.registry import IngestContext
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.calls import MakeThumbnails, WorkerSettings
from indexd_schemas.settings import Settings
from tests.support.scanning import scan_image
from tests.unit.image_metadata.writers import SIGNATURE, chunk, facts, text

WORDS = "a duck, テスト\nNegative prompt: a goose\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 5"


def hidden(kind: str, payload: bytes, size: tuple[int, int], noise: int = 0) -> NDArray[np.uint8]:
    """Pixels (height, width, RGBA) with `payload` in their lowest bits."""
    width, height = size
    pixels = np.random.default_rng(noise).integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[..., 3] |= 0xF0
    signature = f"stealth_{kind}".encode()
    bits = np.unpackbits(np.frombuffer(signature + struct.pack(">I", 8 * len(payload)) + payload, np.uint8))
    planes = pixels[..., 3:] if kind.startswith("png") else pixels[..., :3]
    columns = planes.transpose(1, 0, 2).reshape(-1).copy()
    columns[: len(bits)] = (columns[: len(bits)] & 0xFE) | bits
    planes[...] = columns.reshape(width, height, planes.shape[2]).transpose(1, 0, 2)
    return pixels


def encoded(pixels: NDArray[np.uint8], filters: tuple[int, ...]) -> bytes:
    """A PNG whose rows use these filters in turn."""
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels).astype(int)
    out = b""
    for number, row in enumerate(rows):
        kind = filters[number % len(filters)]
        up = rows[number - 1] if number else np.zeros_like(row)
        left = np.concatenate([np.zeros(channels, int), row[:-channels]])
        corner = np.concatenate([np.zeros(channels, int), up[:-channels]])
        estimate = left + up - corner
        near = np.where(
            (abs(estimate - left) <= abs(estimate - up)) & (abs(estimate - left) <= abs(estimate - corner)),
            left,
            np.where(abs(estimate - up) <= abs(estimate - corner), up, corner),
        )
        predicted = (0 * row, left, up, (left + up) // 2, near)[kind]
        out += bytes((kind,)) + ((row - predicted) & 255).astype(np.uint8).tobytes()
    colour = {3: 2, 4: 6}[channels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    data = zlib.compress(out)
    middle = len(data) // 2
    return SIGNATURE + header + chunk(b"IDAT", data[:middle]) + chunk(b"IDAT", data[middle:]) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["pnginfo", "pngcomp", "rgbinfo", "rgbcomp"])
@pytest.mark.parametrize("size", [(200, 300), (300, 17)])
def test_every_kind_and_every_filter(kind: str, size: tuple[int, int]) -> None:
    payload = WORDS.encode()
    pixels = hidden(kind, gzip.compress(payload) if kind.endswith("comp") else payload, size)
    for data in (encoded(pixels, (0, 1, 2, 3, 4)), encoded(pixels, (4,)), encoded(pixels, (3, 1))):
        metadata = facts(data).metadata
        assert (metadata.prompt, metadata.negative_prompt, metadata.seed) == ("a duck, テスト", "a goose", "5")
        assert metadata.source == "stealth:parameters"


def test_rgb_pictures_hide_texts_too(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.fromarray(hidden("rgbinfo", WORDS.encode(), (64, 64))[..., :3].copy()).save(out, "PNG")
    assert facts(out.getvalue()).metadata.seed == "5"


def test_a_stated_text_is_preferred() -> None:
    data = encoded(hidden("pngcomp", gzip.compress(WORDS.encode()), (64, 64)), (0,))
    stated = data[:33] + text("parameters", "stated\nSteps: 1, Seed: 9") + data[33:]
    assert facts(stated).metadata.seed == "9"


@pytest.mark.parametrize("payload", [b"not gzipped", gzip.compress(b"x" * 100)[:-30], b""])
def test_damaged_payloads_are_no_text(payload: bytes) -> None:
    metadata = facts(encoded(hidden("pngcomp", payload, (64, 64)), (0,))).metadata
    assert (metadata.is_ai, metadata.problem) == (None, None)


def test_a_length_beyond_the_picture_is_no_text() -> None:
    pixels = hidden("pnginfo", WORDS.encode(), (64, 64))
    pixels[:, 2:5, 3] |= 1
    assert facts(encoded(pixels, (0,))).metadata.is_ai is None


def test_a_gzip_bomb_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stealth, "TEXT_BYTES_MAX", 5000)
    data = encoded(hidden("pngcomp", gzip.compress(bytes(10_000_000)), (300, 300)), (0,))
    assert all(len(item.text) <= 5000 for item in facts(data).metadata.raw)


def test_large_edges_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stealth_png, "EDGE_BYTES_MAX", 300)
    assert facts(encoded(hidden("pnginfo", WORDS.encode(), (64, 64)), (0,))).metadata.is_ai is None


def test_truncated_pixels_are_no_error() -> None:
    data = encoded(hidden("pnginfo", WORDS.encode(), (64, 64)), (0,))
    for cut in range(100, len(data), 701):
        metadata = facts(data[:cut]).metadata
        assert metadata.seed in (None, "5")
        assert metadata.problem == CUT_OFF


def lossless_webp(pixels: NDArray[np.uint8], **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, exact=True, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["pnginfo", "pngcomp", "rgbinfo", "rgbcomp"])
def test_a_lossless_webp_hides_texts_too(tmp_path: Path, kind: str) -> None:
    payload = WORDS.encode()
    pixels = hidden(kind, gzip.compress(payload) if kind.endswith("comp") else payload, (120, 90))
    path = tmp_path / "a.webp"
    path.write_bytes(lossless_webp(pixels))
    assert decode_image(path).stealth_text == WORDS
    path.write_bytes(lossless_webp(pixels, xmp=b"<x:xmpmeta/>", icc_profile=b"x" * 200))
    assert decode_image(path).stealth_text == WORDS


def test_no_other_file_is_decoded_for_it_when_its_thumbnail_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = hidden("pnginfo", WORDS.encode(), (120, 90))
    opaque, lossy, animated, as_png = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels[..., :3].copy()).save(opaque, "WEBP", lossless=True)
    Image.fromarray(pixels).save(lossy, "WEBP", quality=90)
    frames = [Image.fromarray(pixels), Image.fromarray(pixels[::-1].copy())]
    frames[0].save(animated, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    Image.fromarray(pixels).save(as_png, "PNG")
    sources = []
    for number, data in enumerate((opaque, lossy, animated, as_png)):
        path = tmp_path / f"{number}.webp"
        path.write_bytes(data.getvalue())
        sources.append((os.fsencode(path), bytes([number]) * 32))
    call = MakeThumbnails(tuple(sources), str(tmp_path / "small"), 64)
    assert make_thumbnails(call).stealth_texts == {}

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(decode, "_decode", refused)
    assert set(make_thumbnails(call).perceptual_hashes) == {0, 1, 2, 3}


def test_a_damaged_lossless_webp_hides_nothing(tmp_path: Path) -> None:
    data = lossless_webp(hidden("pnginfo", WORDS.encode(), (120, 90)))
    path = tmp_path / "a.webp"
    for number, cut in enumerate(range(10, len(data), 997)):
        path.write_bytes(data[:cut])
        made = make_thumbnails(MakeThumbnails(((os.fsencode(path), bytes([number]) * 32),), str(tmp_path / "t"), 64))
        assert made.stealth_texts == {}
        assert set(made.problems) | set(made.perceptual_hashes) == {0}


def test_what_the_decoder_finds_is_told_of_a_silent_picture(tmp_path: Path) -> None:
    pixels = hidden("pngcomp", gzip.compress(WORDS.encode()), (120, 90))
    (tmp_path / "a.webp").write_bytes(lossless_webp(pixels))
    with SqliteStore.open(tmp_path / "index.db") as store:
        root = store.roots.ensure(os.fsencode(tmp_path), "images").id
        stamp = FileStamp.from_stat(os.lstat(tmp_path / "a.webp"))
        settled = SettledFile(root, os.fsencode(tmp_path), b"a.webp", stamp, "images")
        image_id = store.images.ingest([scan_image(settled, IngestContext(Settings()))], 1.0)[0].image_id
        assert image_id is not None
        assert store.images.rows([image_id])[image_id].seed is None
        context = StageContext(
            store,
            WorkerSettings({}, ""),
            ThumbnailTarget(str(tmp_path / "t"), 64),
            DecodedImages(str(tmp_path / "decoded")),
            2.0,
        )
        batch = ThumbnailStage().build(store.index_tasks.claim(THUMBNAIL, 5, 2.0), context)
        assert batch is not None
        assert isinstance(batch.call, MakeThumbnails)
        assert ThumbnailStage().store(batch, make_thumbnails(batch.call), context) == {}
        row = store.images.rows([image_id])[image_id]
        assert (row.prompt, row.seed, row.generator) == ("a duck, テスト", "5", "a1111")
        assert [chunk.key for chunk in store.images.raw_chunks(image_id)] == ["stealth:parameters"]
        assert {one.stage for one in store.index_tasks.of_image(image_id)} >= {
            "bge_prompt",
            "clip_l",
            "clip_g",
            "bge_negative",
        }
