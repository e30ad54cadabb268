"""Saved images: every format carries the whole recipe and A1111's text, and the same input gives the same bytes."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, TiffTags

from indexd.image_metadata.model import ImageFacts
from indexd.images.encode import LARGE_PNG_PIXELS, ImageTexts, encode_image
from indexd.images.image_reader import read_image
from indexd.jobs.export.replay import parse_recipe
from indexd_schemas.image_format import DEFAULT_QUALITY, OutputEncoding
from indexd_schemas.recipe import Recipe

PARAMETERS = "a café, 猫\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 64x48"
ENCODINGS = [
    *(OutputEncoding(format=name, quality=quality) for name, quality in DEFAULT_QUALITY.items()),
    OutputEncoding(format="webp", quality=None),
    OutputEncoding(format="jpeg", quality=60),
    OutputEncoding(format="avif", quality=100),
]


def _recipe(**fields: Any) -> Recipe:
    plain = {"kind": "txt2img", "prompt": 'a <café> & "猫"', "seed": 2**64 - 1, "width": 64, "height": 48, "steps": 20}
    return Recipe.model_validate(plain | {"cfg": 7.0, "sampler": "euler", "model": {"name": "base"}} | fields)


def _texts(recipe: Recipe, parameters: str = PARAMETERS) -> ImageTexts:
    return ImageTexts(parameters, json.dumps(recipe.model_dump(mode="json"), ensure_ascii=False))


def _read(encoded: bytes) -> ImageFacts:
    return read_image(io.BytesIO(encoded), len(encoded), "x", list)


def _noise(size: tuple[int, int] = (64, 48)) -> Image.Image:
    values = np.random.default_rng(1).integers(0, 255, (size[1] // 8, size[0] // 8, 3), np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_every_format_gives_the_recipe_back(encoding: OutputEncoding) -> None:
    recipe = _recipe(output=encoding, negative_prompt="a\ufffeb\x07\x1f</indexd:recipe>")
    facts = _read(encode_image(_noise(), _texts(recipe), encoding))
    assert parse_recipe(facts.metadata, "x") == recipe
    assert (facts.metadata.generator, facts.metadata.prompt) == ("indexd", recipe.prompt)
    assert (facts.width, facts.height) == (64, 48)
    assert facts.metadata.is_ai == "metadata"


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_other_programs_find_the_text_of_a1111(encoding: OutputEncoding) -> None:
    facts = _read(encode_image(_noise(), _texts(_recipe()), encoding))
    key = "png:parameters" if encoding.format == "png" else "exif:UserComment"
    assert [chunk.text for chunk in facts.metadata.raw if chunk.key == key] == [PARAMETERS]


@pytest.mark.parametrize("encoding", [one for one in ENCODINGS if one.format != "png"], ids=str)
def test_the_comment_has_the_type_that_exif_wants(encoding: OutputEncoding) -> None:
    """A1111 reads with piexif, which makes numbers of a comment that is declared as BYTE."""
    with Image.open(io.BytesIO(encode_image(_noise(), _texts(_recipe()), encoding))) as opened:
        exif = opened.info["exif"]
        assert opened.getexif().get_ifd(ExifTags.IFD.Exif).keys() == {ExifTags.Base.UserComment}
    entry = exif.index(struct.pack(">H", ExifTags.Base.UserComment))
    value_type, count = struct.unpack(">HI", exif[entry + 2 : entry + 8])
    assert (value_type, count) == (TiffTags.UNDEFINED, 8 + 2 * len(PARAMETERS))


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_the_same_image_and_texts_are_the_same_bytes(encoding: OutputEncoding) -> None:
    image = _noise((640, 512))
    assert encode_image(image, _texts(_recipe()), encoding) == encode_image(image.copy(), _texts(_recipe()), encoding)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_the_pixels_are_kept_as_well_as_the_quality_says(encoding: OutputEncoding) -> None:
    image = _noise((256, 128))
    with Image.open(io.BytesIO(encode_image(image, _texts(_recipe()), encoding))) as opened:
        decoded = np.asarray(opened.convert("RGB"), np.int16)
    difference = np.abs(decoded - np.asarray(image, np.int16)).mean()
    assert difference == 0 if encoding.quality is None else difference < (8 if encoding.quality < 80 else 4)


def test_a_lower_quality_is_a_smaller_file() -> None:
    for name in ("jpeg", "webp", "avif"):
        sizes = [
            len(encode_image(_noise((256, 256)), _texts(_recipe()), OutputEncoding(format=name, quality=quality)))
            for quality in (30, 95)
        ]
        assert sizes[0] < sizes[1], name


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_a_recipe_longer_than_a_segment_of_a_jpeg_is_kept_whole(encoding: OutputEncoding) -> None:
    recipe = _recipe(prompt="猫, " * 9000, negative_prompt="犬 " * 40_000)
    facts = _read(encode_image(_noise(), _texts(recipe, "long " * 20_000), encoding))
    assert parse_recipe(facts.metadata, "x") == recipe
    assert facts.metadata.prompt == recipe.prompt


def test_texts_without_an_encoding_are_made_storable() -> None:
    for encoding in ENCODINGS:
        encoded = encode_image(_noise(), ImageTexts("a\0b \ud83d c", '{"kind": "\ud83d"}'), encoding)
        key = "png:parameters" if encoding.format == "png" else "exif:UserComment"
        assert next(chunk.text for chunk in _read(encoded).metadata.raw if chunk.key == key) == "a b ? c"


def test_a_large_png_is_compressed_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = []
    save = Image.Image.save

    def spy(image: Image.Image, *args: Any, **options: Any) -> None:
        levels.append(options["compress_level"])
        save(image, *args, **options)

    monkeypatch.setattr(Image.Image, "save", spy)
    side = int(LARGE_PNG_PIXELS**0.5)
    for size in ((side, side), (side + 8, side)):
        encode_image(Image.new("RGB", size), _texts(_recipe()))
    assert levels == [4, 2]


def test_pieces_of_extended_xmp_are_joined_in_their_order(tmp_path: Path) -> None:
    recipe = _recipe(prompt="猫, " * 9000, negative_prompt="犬 " * 60_000)
    encoded = encode_image(_noise(), _texts(recipe), OutputEncoding(format="jpeg", quality=90))
    mark = b"\xff\xe1"
    places = [
        place for place in range(len(encoded)) if encoded.startswith(b"http://ns.adobe.com/xmp/extension/", place)
    ]
    assert len(places) >= 3
    starts = [place - len(mark) - 2 for place in places]
    lengths = [int.from_bytes(encoded[start + 2 : start + 4], "big") + 2 for start in starts]
    pieces = [encoded[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    end = starts[-1] + lengths[-1]
    shuffled = encoded[: starts[0]] + b"".join(reversed(pieces)) + encoded[end:]
    assert parse_recipe(_read(shuffled).metadata, "x") == recipe
    lost = encoded[: starts[0]] + b"".join(pieces[1:]) + encoded[end:]
    assert parse_recipe(_read(lost).metadata, "x") is None
