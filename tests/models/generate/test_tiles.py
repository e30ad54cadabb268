"""Tiles: they cover, they overlap, and what is put together from them has no seam."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from indexd.generate.diffusion.tiling import blend_tiles, tile_weights
from indexd.images.geometry import Tile, split_into_tiles, tile_offsets


@pytest.mark.parametrize("length", [64, 65, 100, 128, 129, 500, 1000, 1001])
@pytest.mark.parametrize(("side", "overlap"), [(64, 8), (64, 32), (100, 33)])
def test_tiles_cover_an_edge_and_overlap(length: int, side: int, overlap: int) -> None:
    found = tile_offsets(length, side, overlap)
    assert found[0] == 0
    assert max(found) + side >= length
    assert all(first < second and first + side - second >= overlap for first, second in pairwise(found))
    assert len(found) == 1 or found[-1] + side == length


def test_tiles_lie_on_the_step_row_by_row() -> None:
    grid = split_into_tiles(320, 200, 128, 32, 8)
    assert all(side % 8 == 0 for tile in grid for side in tile.box)
    assert [tile.box[:2] for tile in grid] == sorted((tile.box[:2] for tile in grid), key=lambda place: place[::-1])
    covered = torch.zeros(200, 320)
    for tile in grid:
        covered[tile.top : tile.bottom, tile.left : tile.right] += 1
    assert covered.min() >= 1


def test_parts_of_one_picture_are_that_picture_again() -> None:
    whole = torch.rand(3, 90, 130, generator=torch.Generator().manual_seed(1))
    grid = split_into_tiles(130, 90, 40, 12)
    parts = ((tile, whole[:, tile.top : tile.bottom, tile.left : tile.right]) for tile in grid)
    assert torch.allclose(blend_tiles(parts, 130, 90, 12), whole, atol=1e-6)


def test_tiles_that_disagree_fade_into_each_other() -> None:
    grid = split_into_tiles(160, 64, 96, 32)
    parts = [(tile, torch.full((1, 64, 96), float(number))) for number, tile in enumerate(grid)]
    row = blend_tiles(parts, 160, 64, 32)[0, 30]
    assert (row[0], row[-1]) == (0, 1)
    # The way from 0 to 1 takes half the overlap, evenly: no step is larger than 1 / 16.
    assert row.diff().max() <= 1 / 16 + 1e-4
    assert row.diff().min() >= -1e-6


def test_the_rim_of_a_tile_counts_nothing_but_not_at_the_edge_of_the_picture() -> None:
    across = tile_weights(Tile(0, 0, 64, 64), 128, 64, 16)[30]
    assert across[0] == 1
    assert across[-4:].max() <= 1e-6
    assert across[-5] > 0.01
