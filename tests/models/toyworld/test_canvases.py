"""Canvases: the same for the same seed, with boxes that lie on faces."""

from __future__ import annotations

import numpy as np
import pytest

from indexd_toyworld.face_canvases import canvases
from indexd_toyworld.scene_sampling import Split


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_the_same_seed_draws_the_same(split: Split) -> None:
    for one, other in zip(canvases(3, 8, split), canvases(3, 8, split), strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert one.faces == other.faces


def test_there_are_canvases_of_all_sizes_with_and_without_faces() -> None:
    drawn = list(canvases(4, 120, "train"))
    assert {max(canvas.pixels.shape[:2]) for canvas in drawn} >= {64, 128, 192}
    counts = {len(canvas.faces) for canvas in drawn}
    assert {0, 1, 2} <= counts
    assert max(counts) > 4


def test_boxes_lie_in_the_picture_and_are_square() -> None:
    for canvas in canvases(5, 60, "held_out"):
        height, width = canvas.pixels.shape[:2]
        for left, top, right, bottom in canvas.faces:
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert right - left == pytest.approx(bottom - top, rel=0.2)
