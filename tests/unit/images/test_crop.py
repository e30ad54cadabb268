"""Faces cut out of pictures, and how good a picture of a face a region is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from indexd.images.face_crop import BACKGROUND_GRAY, crop_face, face_quality, sharpness

WHITE, RED = (255, 255, 255), (255, 0, 0)


def picture(width: int = 200, height: int = 100) -> Image.Image:
    """White, with a red box 40 x 20 in the middle."""
    made = Image.new("RGB", (width, height), WHITE)
    made.paste(RED, (80, 40, 120, 60))
    return made


BOX = (0.4, 0.4, 0.2, 0.2)


def test_a_crop_is_a_square_around_the_face_with_room_on_each_side() -> None:
    crop = crop_face(picture(), BOX, 0.25, gray_background=False)
    assert crop.size == (60, 60)
    red = np.argwhere((np.asarray(crop) == RED).all(axis=2))
    assert (red.min(axis=0).tolist(), red.max(axis=0).tolist()) == ([20, 10], [39, 49])
    assert crop_face(picture(), BOX, 0.0, gray_background=False).size == (40, 40)


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 0.2, 0.2), (0.8, 0.8, 0.2, 0.2), (0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 1e-6, 1e-6)]
)
def test_at_the_edge_a_crop_stays_inside_the_picture(box: tuple[float, float, float, float]) -> None:
    crop = crop_face(picture(), box, 0.5, gray_background=False)
    assert crop.width == crop.height <= 100
    assert not (np.asarray(crop) == 0).all(axis=2).any()


def test_what_lies_around_the_face_is_grey_when_that_is_wanted() -> None:
    crop = np.asarray(crop_face(picture(), BOX, 0.25, gray_background=True))
    assert (crop[0, 0] == BACKGROUND_GRAY).all() and (crop[-1, -1] == BACKGROUND_GRAY).all()
    assert (crop[30, 30] == RED).all() and (crop[30, 5] == WHITE).all()
    assert (crop[2, 30] == BACKGROUND_GRAY).all(), "the face is flat: above it the ellipse has ended"


def test_sharpness_falls_with_blur_and_does_not_grow_with_size() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (112, 112), dtype=np.uint8)
    sharp = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)).convert("RGB")
    blurred = sharp.filter(ImageFilter.GaussianBlur(3))
    assert sharpness(sharp) > 3 * sharpness(blurred) > 0
    large = sharp.resize((448, 448), Image.Resampling.BICUBIC)
    assert sharpness(large) == pytest.approx(sharpness(sharp), rel=0.2)
    assert sharpness(Image.new("RGB", (50, 30), WHITE)) == sharpness(Image.new("RGB", (1, 1))) == 0.0


def test_quality_needs_size_and_sharpness_and_confidence() -> None:
    good = face_quality(112, 1e6, 1.0)
    assert good == pytest.approx(1.0, abs=1e-3)
    assert face_quality(500, 1e6, 1.0) == pytest.approx(good)
    assert face_quality(14, 1e6, 1.0) == pytest.approx(0.5, abs=1e-3)
    assert face_quality(112, 100.0, 0.25) == pytest.approx(0.5)
    assert face_quality(112, 0.0, 1.0) == 0.0
