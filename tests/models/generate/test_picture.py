"""What stands in the file besides the pixels."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree
import zlib
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from indexd.generate.output.infotext_writer import format_infotext
from indexd.images.encode import ImageTexts, encode_image
from indexd_schemas.recipe import Recipe


def recipe(**fields: Any) -> Recipe:
    plain: dict[str, Any] = {"kind": "txt2img", "prompt": "a cat", "seed": 5, "width": 64, "height": 48, "steps": 20}
    plain |= {"cfg": 7.0, "sampler": "dpmpp_2m", "schedule": "karras", "model": {"name": "base", "hash": "0123456789"}}
    return Recipe.model_validate(plain | fields)


def encode_png(image: Image.Image, made: Recipe) -> bytes:
    return encode_image(
        image, ImageTexts(format_infotext(made), json.dumps(made.model_dump(mode="json"), ensure_ascii=False))
    )


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 8
    while place < len(png):
        length = int.from_bytes(png[place : place + 4], "big")
        kind, body = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert zlib.crc32(kind + body) == int.from_bytes(png[place + 8 + length : place + 12 + length], "big")
        found.append((kind, body))
        place += 12 + length
    return found


def texts(made: Recipe) -> dict[str, str]:
    with Image.open(io.BytesIO(encode_png(Image.new("RGB", (64, 48), "red"), made))) as picture:
        assert isinstance(picture, PngImageFile)
        picture.load()
        return dict(picture.text)


def test_the_whole_recipe_comes_back() -> None:
    made = recipe(prompt="ein Käfer, 猫", seed=2**64 - 1, loras=({"name": "a", "weight": -0.5},), job="3/1")
    assert Recipe.model_validate(json.loads(texts(made)["indexd"])) == made


def test_metadata_stands_before_the_pixels() -> None:
    kinds = [kind for kind, _ in chunks(encode_png(Image.new("RGB", (8, 8)), recipe()))]
    assert kinds == [b"IHDR", b"tEXt", b"iTXt", b"iTXt", b"IDAT", b"IEND"]


@pytest.mark.parametrize(("prompt", "kind"), [("a café", b"tEXt"), ("猫", b"iTXt")])
def test_parameters_are_stored_as_a1111_stores_them(prompt: str, kind: bytes) -> None:
    found = chunks(encode_png(Image.new("RGB", (8, 8)), recipe(prompt=prompt)))
    assert next(which for which, body in found if body.startswith(b"parameters\0")) == kind
    assert texts(recipe(prompt=prompt))["parameters"].splitlines()[0] == prompt


def test_the_digital_source_type_is_said_in_xmp() -> None:
    packet = texts(recipe())["XML:com.adobe.xmp"]
    root = xml.etree.ElementTree.fromstring(packet.encode())
    [found] = root.iter("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert found.text == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def test_the_same_picture_and_recipe_are_the_same_bytes() -> None:
    picture = Image.effect_noise((64, 48), 50).convert("RGB")
    assert encode_png(picture, recipe()) == encode_png(picture.copy(), recipe())


def test_texts_that_png_cannot_hold_are_made_storable() -> None:
    found = texts(recipe(prompt="a\0b \ud83d c"))
    assert found["parameters"].startswith("a b ? c")


def test_infotext_in_full() -> None:
    made = recipe(
        negative_prompt="blurry,\nugly",
        clip_skip=2,
        model={"name": "base, v1", "hash": "0123456789"},
        loras=(
            {"name": "style", "weight": 0.8, "hash": "aaaabbbbcccc"},
            {"name": "face", "weight": 1.0, "text_weight": 0.5},
        ),
        software="indexd 0.1.0",
    )
    assert format_infotext(made) == (
        "a cat <lora:style:0.8> <lora:face:0.5:1>\n"
        "Negative prompt: blurry,\nugly\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 5, Size: 64x48, "
        'Model hash: 0123456789, Model: "base, v1", Clip skip: 2, Lora hashes: "style: aaaabbbbcccc", '
        "Version: indexd 0.1.0"
    )


def test_infotext_says_the_schedule_that_was_used() -> None:
    assert "Sampler: Euler, Schedule type: Normal, " in format_infotext(recipe(sampler="euler", schedule=None))
    assert "Sampler: DPM fast, CFG scale" in format_infotext(recipe(sampler="dpm_fast", schedule=None))


def test_a_tag_that_stands_in_the_prompt_is_not_written_twice() -> None:
    made = recipe(prompt="a cat <lora:style:0.8>", loras=({"name": "style", "weight": 0.8},))
    assert format_infotext(made).splitlines()[0] == "a cat <lora:style:0.8>"


def test_img2img_says_its_strength() -> None:
    made = recipe(kind="img2img", input={"hash": "00", "name": "x.png", "denoise": 0.35})
    assert "Denoising strength: 0.35" in format_infotext(made)
