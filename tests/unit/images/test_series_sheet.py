"""The sheet of a series: where each image stands, and that it stays within its limits."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexd.images.image_grid import CELL_BACKGROUND
from indexd.images.series_sheet import MAX_SHEET_SIDE_PX
from indexd.worker.calls import RunFunction
from indexd.worker.fake_workers import FakeWorkers

RED, GREEN, BLUE, GREY = (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)


def _draw(**arguments: Any) -> Image.Image:
    call = RunFunction("indexd.images.series_sheet:draw_series_sheet", "decode", arguments)
    encoded = FakeWorkers().submit(call).result(0)
    image = Image.open(io.BytesIO(encoded))
    image.load()
    return image


def _image(folder: Path, color: tuple[int, int, int], size: tuple[int, int] = (96, 64)) -> bytes:
    path = folder / f"{color}.png"
    Image.new("RGB", size, color).save(path)
    return os.fsencode(path)


def _order(sheet: Image.Image) -> list[tuple[int, int, int]]:
    """The colours of the images by rows, each once."""
    colors = {RED, GREEN, BLUE, GREY}
    seen: dict[Any, None] = {}
    for y in range(sheet.height):
        for x in range(0, sheet.width, 8):
            if (pixel := sheet.getpixel((x, y))) in colors:
                seen[pixel] = None
    return list(seen)


def test_images_stand_by_columns_and_rows(tmp_path: Path) -> None:
    cells = [_image(tmp_path, color) for color in (RED, GREEN, BLUE, GREY)]
    sheet = _draw(columns=["cfg: 4", "cfg: 7"], rows=["é", "日本"], blocks=[{"title": "seed 5", "cells": cells}])
    assert _order(sheet) == [RED, GREEN, BLUE, GREY]
    plain = _draw(columns=["", ""], rows=["", ""], blocks=[{"title": "", "cells": cells}])
    assert plain.width < sheet.width and plain.height < sheet.height
    below = _draw(
        columns=["a"],
        rows=[""],
        blocks=[{"title": name, "cells": [cell]} for name, cell in zip("xyzw", cells, strict=True)],
    )
    assert _order(below) == [RED, GREEN, BLUE, GREY]


def test_a_label_wider_than_a_cell_is_readable_beside_it(tmp_path: Path) -> None:
    cells = [_image(tmp_path, RED)]
    long = _draw(columns=[""], rows=["a long label of a row"], blocks=[{"title": "", "cells": cells}])
    short = _draw(columns=[""], rows=["a"], blocks=[{"title": "", "cells": cells}])
    assert short.width < 96 + 48 < 96 + 96 < long.width
    endless = _draw(columns=[""], rows=["a label " * 50], blocks=[{"title": "", "cells": cells}])
    assert endless.width < 96 + 200


def test_images_that_are_missing_or_damaged_leave_their_cells(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n")
    gone = os.fsencode(tmp_path / "gone.png")
    cells = [None, os.fsencode(damaged), gone, _image(tmp_path, RED)]
    sheet = _draw(columns=["a", "b"], rows=["c", "d"], blocks=[{"title": "", "cells": cells}])
    colors = {color for _, color in sheet.getcolors(1 << 20) or ()}
    assert {RED, tuple(bytes.fromhex(CELL_BACKGROUND[1:]))} <= colors
    empty = _draw(columns=["a"], rows=["c"], blocks=[{"title": "", "cells": [None]}])
    assert min(empty.size) > 48


@pytest.mark.parametrize(("columns", "rows", "blocks"), [(60, 2, 1), (2, 60, 1), (2, 20, 5)])
def test_a_long_series_stays_within_what_viewers_open(tmp_path: Path, columns: int, rows: int, blocks: int) -> None:
    cell = _image(tmp_path, RED, (512, 512))
    sheet = _draw(
        columns=["cfg: 1"] * columns,
        rows=["steps: 1"] * rows,
        blocks=[{"title": "seed", "cells": [cell] * (columns * rows)}] * blocks,
    )
    assert max(sheet.size) <= MAX_SHEET_SIDE_PX * 1.1
