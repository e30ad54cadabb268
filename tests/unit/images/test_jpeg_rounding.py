"""The rounding of a JPEG file explains the differences of a copy, and not those of another image."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bench.support.synthetic_images import encode, portrait_image, scene_image
from indexd.images.jpeg_rounding import LumaBlocks, blocks_of_image, blocks_of_jpeg, may_be_one_image


def jpeg_blocks(image: Image.Image, quality: int) -> LumaBlocks:
    found = blocks_of_jpeg(io.BytesIO(encode(image, "JPEG", quality)))
    assert found is not None
    return found


def slightly_changed(image: Image.Image) -> Image.Image:
    """Differs by 0.6 levels in the mean, as another VAE does."""
    noise = np.random.default_rng(4).normal(0, 1, (image.height // 4, image.width // 4, 1))
    levels = np.asarray(image) + np.round(np.kron(noise, np.ones((4, 4, 1))) * 0.75)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("quality", [60, 75, 80, 85, 90, 95, 100])
def test_a_copy_is_within_half_a_step_and_a_faint_variation_is_not(quality: int) -> None:
    for image in (scene_image(0, 0), scene_image(3, 1), portrait_image(2)):
        exact = blocks_of_image(image)
        assert may_be_one_image(exact, jpeg_blocks(image, quality)) is True
        assert may_be_one_image(jpeg_blocks(image, quality), exact) is True
        assert may_be_one_image(exact, jpeg_blocks(slightly_changed(image), quality)) is False


def test_two_jpeg_files_of_one_image() -> None:
    image = scene_image(0, 0)
    assert may_be_one_image(jpeg_blocks(image, 90), jpeg_blocks(image, 70)) is True
    assert may_be_one_image(jpeg_blocks(image, 95), jpeg_blocks(scene_image(0, 1), 95)) is False


def test_what_cannot_be_told() -> None:
    image = scene_image(0, 0)
    exact = blocks_of_image(image)
    assert may_be_one_image(exact, exact) is None
    assert may_be_one_image(exact, jpeg_blocks(image.resize((128, 128)), 90)) is None
    black = Image.new("RGB", image.size)
    assert may_be_one_image(blocks_of_image(black), jpeg_blocks(black, 90)) is None


def test_files_without_such_blocks() -> None:
    image = scene_image(0, 0)
    turned, cmyk = io.BytesIO(), io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    image.save(turned, "JPEG", exif=exif)
    image.convert("CMYK").save(cmyk, "JPEG")
    whole = encode(image, "JPEG", 90)
    for file in (turned, cmyk, io.BytesIO(encode(image, "WEBP", 80)), io.BytesIO(whole[:200]), io.BytesIO(b"")):
        assert blocks_of_jpeg(file) is None
