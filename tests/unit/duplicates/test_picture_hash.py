"""The picture hash survives what people do to copies, and tells apart what only resembles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from bench.support.synthetic_images import (
    crop_edges,
    dark_image,
    flat_image,
    portrait_image,
    reencode,
    rescale,
    scene_image,
)
from indexd.duplicates.hash_similarity import HashArrays, are_near
from indexd.images.perceptual_hash import HASH_BYTES, compute_perceptual_hash
from indexd.store.records import HashedImages

COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg50": lambda one: reencode(one, "JPEG", 50),
    "webp60": lambda one: reencode(one, "WEBP", 60),
    "half": lambda one: rescale(one, 0.5),
    "double": lambda one: rescale(one, 2.0),
    "half and jpeg50": lambda one: reencode(rescale(one, 0.5), "JPEG", 50),
    "cropped": lambda one: crop_edges(one, 0.01),
}


def same(first: Image.Image, second: Image.Image) -> bool:
    hashes = [compute_perceptual_hash(first), compute_perceptual_hash(second)]
    assert [len(one) for one in hashes] == [HASH_BYTES, HASH_BYTES]
    rows = np.frombuffer(b"".join(hashes), np.uint8).reshape(2, HASH_BYTES)
    looks = HashArrays.from_rows(HashedImages(np.arange(2), rows))
    return bool(are_near(looks, np.array([0]), np.array([1]))[0])


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_the_same_picture(name: str) -> None:
    for number in range(4):
        assert same(scene_image(number, 0), COPIES[name](scene_image(number, 0))), number


def test_another_seed_of_the_same_prompt_is_another_picture() -> None:
    for number in range(6):
        assert not same(scene_image(number, 0), scene_image(number, 1)), number


def test_the_same_layout_in_other_colours_is_another_picture() -> None:
    first = portrait_image(0)
    red, green, blue = first.split()
    assert not same(first, Image.merge("RGB", (blue, green, red)))


def test_what_is_too_plain_has_no_hash() -> None:
    assert {compute_perceptual_hash(one(number)) for one in (flat_image, dark_image) for number in range(5)} == {b""}
    assert compute_perceptual_hash(Image.new("RGB", (1, 1))) == b""


def test_what_is_transparent_lies_on_white() -> None:
    opaque = scene_image(1, 0)
    ground = Image.new("RGBA", opaque.size, (0, 0, 0, 0))
    ground.paste(opaque.crop((0, 0, 300, 512)), (0, 0))
    white = Image.new("RGB", opaque.size, "white")
    white.paste(opaque.crop((0, 0, 300, 512)), (0, 0))
    assert compute_perceptual_hash(ground) == compute_perceptual_hash(white)
