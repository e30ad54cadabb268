"""Which contents are the same picture: another encoding of it is, another picture over the same name is not."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from indexd.images.same_image import compare_images, is_same_image
from indexd.images.thumbnail import thumbnail_path
from indexd.worker.calls import ComparedImage, CompareImages


def scene(seed: int, size: tuple[int, int] = (384, 256)) -> Image.Image:
    """Shapes of many sizes with fine texture, all following from the seed."""
    chance = np.random.default_rng(seed)
    rough = Image.fromarray(chance.integers(0, 255, (8, 12, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = chance.normal(0, 8, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(rough) + fine, 0, 255).astype(np.uint8))


def figure(kind: str) -> Image.Image:
    """A small black figure on white."""
    picture = Image.new("RGB", (256, 256), "white")
    draw = ImageDraw.Draw(picture)
    shape = {"disc": draw.ellipse, "box": draw.rectangle}[kind]
    shape((60, 60, 200, 200), outline="black", width=6)
    return picture


def encoded(picture: Image.Image, kind: str, quality: int) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, kind, quality=quality)
    return Image.open(out)


@pytest.mark.parametrize(("kind", "quality"), [("JPEG", 90), ("JPEG", 50), ("WEBP", 60)])
def test_encoded_again_it_is_the_same(kind: str, quality: int) -> None:
    assert is_same_image(scene(1), encoded(scene(1), kind, quality))


def test_scaled_or_touched_up_it_is_the_same() -> None:
    picture = scene(2)
    assert is_same_image(picture, picture.resize((192, 128), Image.Resampling.LANCZOS))
    touched = picture.copy()
    ImageDraw.Draw(touched).rectangle((100, 100, 160, 140), fill="red")
    assert is_same_image(picture, touched)


@pytest.mark.parametrize("seed", range(20))
def test_another_seed_is_another_picture(seed: int) -> None:
    assert not is_same_image(scene(seed), scene(seed + 100))


def test_what_looks_much_alike_is_still_another_picture() -> None:
    picture = scene(3)
    shifted = picture.transform(picture.size, Image.Transform.AFFINE, (1, 0, 6, 0, 1, 6))
    half = picture.copy()
    half.paste(scene(4).crop((0, 0, 192, 256)), (0, 0))
    for other in (
        shifted,
        half,
        ImageEnhance.Brightness(picture).enhance(1.3),
        ImageOps.mirror(picture),
        ImageOps.grayscale(picture),
        picture.crop((0, 0, 256, 256)),
        picture.transpose(Image.Transpose.ROTATE_90),
    ):
        assert not is_same_image(picture, other)


def test_an_empty_background_is_no_likeness() -> None:
    assert is_same_image(figure("disc"), encoded(figure("disc"), "JPEG", 80))
    assert not is_same_image(figure("disc"), figure("box"))
    assert not is_same_image(figure("disc"), Image.new("RGB", (256, 256), "white"))
    assert is_same_image(Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "red"))
    assert not is_same_image(Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "orange"))


def test_pairs_are_compared_by_thumbnails_that_are_made_where_they_lack(tmp_path: Path) -> None:
    def look(number: int, picture: Image.Image | None) -> ComparedImage:
        path = tmp_path / f"{number}.png"
        if picture is not None:
            picture.save(path)
        return ComparedImage(number, bytes([number]) * 32, os.fsencode(path) if picture is not None else None)

    old, new, other = look(1, scene(5)), look(2, scene(5)), look(3, scene(6))
    gone = look(4, None)
    broken = look(5, scene(7))
    (tmp_path / "5.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    pairs = ((old, new), (old, other), (gone, new), (old, gone), (old, broken), (broken, old))
    made = compare_images(CompareImages(pairs, str(tmp_path / "thumbnails"), 384))
    assert made.verdicts == (True, False, "unseen old", "unseen new", False, "unseen old")
    # Later the old file is gone, and its thumbnail is enough.
    (tmp_path / "1.png").unlink()
    again = compare_images(
        CompareImages(((ComparedImage(1, old.content_hash, None), new),), str(tmp_path / "thumbnails"), 384)
    )
    assert again.verdicts == (True,)
    assert thumbnail_path(tmp_path / "thumbnails", new.content_hash).exists()
