"""Copies by encoding, scaling and cropping are one image; what changes its content is another."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from PIL import Image, ImageDraw, ImageFilter

from bench.support.synthetic_images import crop_edges, encode, portrait_image, reencode, rescale, scene_image
from indexd.images.copy_comparison import are_copies, compare_copies
from indexd.images.decode import create_thumbnail
from indexd.worker.calls import CompareCopies, CopyCandidate, CopyVerdict

LOSSY: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 60": lambda one: reencode(one, "JPEG", 60),
    "JPEG 95": lambda one: reencode(one, "JPEG", 95),
    "WebP 60": lambda one: reencode(one, "WEBP", 60),
    "AVIF 50": lambda one: reencode(one, "AVIF", 50),
    "half, JPEG 75": lambda one: reencode(rescale(one, 0.5), "JPEG", 75),
}
LOSSLESS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half": lambda one: rescale(one, 0.5),
    "double": lambda one: rescale(one, 2.0),
    "cropped by 3 %": lambda one: crop_edges(one, 0.03),
    "cropped by 10 %": lambda one: crop_edges(one, 0.10),
    "cropped at two edges": lambda one: one.crop((20, 0, one.width, one.height - 15)),
}


def originals() -> list[Image.Image]:
    return [scene_image(0, 0), scene_image(3, 1), portrait_image(2)]


@pytest.mark.parametrize("name", LOSSY)
def test_an_encoded_copy_is_a_copy(name: str) -> None:
    for one in originals():
        assert are_copies(one, LOSSY[name](one), lossless=(True, False))
        assert are_copies(LOSSY[name](one), one, lossless=(False, True))


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_scaled_or_cropped_copy_is_a_copy(name: str) -> None:
    for one in originals():
        assert are_copies(one, LOSSLESS[name](one), lossless=(True, True))
        assert are_copies(LOSSLESS[name](one), one, lossless=(True, True))


def recoloured(one: Image.Image) -> Image.Image:
    """A small thing in another colour, as another word gives it."""
    changed = one.copy()
    ImageDraw.Draw(changed).ellipse((240, 240, 262, 262), fill=(250, 30, 40))
    return changed


def moved(one: Image.Image) -> Image.Image:
    """A part of the image shifted by a few pixels."""
    changed = one.copy()
    changed.paste(one.crop((180, 180, 330, 330)), (188, 184))
    return changed


@pytest.mark.parametrize("change", [recoloured, moved])
def test_a_small_change_is_no_copy_in_any_format(change: Callable[[Image.Image], Image.Image]) -> None:
    for one in (scene_image(0, 0), scene_image(3, 1)):
        other = change(one)
        assert not are_copies(one, other, lossless=(True, True))
        assert not are_copies(one, reencode(other, "JPEG", 90), lossless=(True, False))
        assert not are_copies(one, rescale(other, 0.5), lossless=(True, True))


def test_lossless_images_of_equal_size_are_copies_only_pixel_by_pixel() -> None:
    one = scene_image(0, 0)
    levels = np.asarray(one).copy()
    levels[100, 100] ^= 1
    assert not are_copies(one, Image.fromarray(levels), lossless=(True, True))
    assert are_copies(one, one.copy(), lossless=(True, True))
    assert are_copies(one, Image.fromarray(levels), lossless=(True, False))


def test_an_image_reduced_to_a_palette_is_a_copy() -> None:
    one = scene_image(0, 0)
    assert are_copies(one, one.quantize(200, dither=Image.Dither.NONE).convert("RGB"), lossless=(True, True))


def test_a_faint_variation_without_a_recipe_is_no_copy_where_the_jpeg_would_have_kept_it() -> None:
    for one in (scene_image(0, 0), scene_image(3, 1)):
        levels = np.asarray(one).astype(np.int16)
        rows = np.linspace(-2, 2, one.height)[:, None, None]
        other = Image.fromarray(np.clip(levels + np.round(rows), 0, 255).astype(np.uint8))
        assert are_copies(one, encode(one, "JPEG", 85), lossless=(True, False))
        assert not are_copies(one, encode(other, "JPEG", 85), lossless=(True, False))
        assert not are_copies(encode(other, "JPEG", 85), one, lossless=(False, True))


def test_other_seeds_and_sharpening() -> None:
    assert not are_copies(scene_image(0, 0), scene_image(0, 1), lossless=(True, False))
    one = scene_image(0, 0)
    assert are_copies(one, one.filter(ImageFilter.UnsharpMask(1, 40)), lossless=(True, False))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "thumbnails"


def candidate(path: Path, folder: Path, *, gone: bool = False) -> CopyCandidate:
    content = blake3(path.read_bytes()).digest()
    create_thumbnail(path, folder, content, 384)
    with Image.open(path) as opened:
        return CopyCandidate(content, opened.format or "", opened.size, None if gone else os.fsencode(path))


def test_verdicts_of_a_call(tmp_path: Path, folder: Path) -> None:
    one = scene_image(0, 0)
    one.save(tmp_path / "a.png")
    one.save(tmp_path / "a.jpg", quality=80)
    recoloured(one).save(tmp_path / "b.png")
    scene_image(0, 1).save(tmp_path / "c.png")
    names = ("a.png", "a.jpg", "b.png", "c.png")
    images = [candidate(tmp_path / name, folder) for name in names]
    nowhere = CopyCandidate(bytes(32), "PNG", (5, 5), os.fsencode(tmp_path / "gone.png"))
    call = CompareCopies((*images, nowhere), ((0, 1), (0, 2), (0, 3), (0, 4)), str(folder))
    assert compare_copies(call).verdicts == (
        CopyVerdict.COPY,
        CopyVerdict.VARIATION,
        CopyVerdict.VARIATION,
        CopyVerdict.UNSEEN,
    )


def test_a_thumbnail_stands_in_for_a_file_that_is_gone(tmp_path: Path, folder: Path) -> None:
    scene_image(0, 0).save(tmp_path / "a.png")
    scene_image(0, 0).save(tmp_path / "a.jpg", quality=80)
    images = (candidate(tmp_path / "a.png", folder, gone=True), candidate(tmp_path / "a.jpg", folder))
    assert compare_copies(CompareCopies(images, ((0, 1),), str(folder))).verdicts == (CopyVerdict.COPY,)
