"""The sheet of a series of images: a table with a label for each column and row, and one table below the other for a third axis."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, ImageDraw

from indexd.errors import NotAnImage, NotRegularFile
from indexd.images.decode import open_image
from indexd.images.image_grid import BACKGROUND, CELL_BACKGROUND, GAP_PX, MUTED_TEXT_COLOR, TEXT_COLOR
from indexd.images.label_font import LabelFont, label_font
from indexd.worker.calls import RunFunction

MAX_CELL_PX = 512
MIN_CELL_PX = 48
# Many viewers refuse larger images.
MAX_SHEET_SIDE_PX = 16_000
LABEL_LINES = 3
ROW_LABEL_EMS = 12
FONT_SHARE = 24
"""The font is the longer side of a cell divided by this, within MIN_FONT_PX and MAX_FONT_PX."""
MIN_FONT_PX, MAX_FONT_PX = 13, 20


class ProgressListener(Protocol):
    """The part of a worker's session that the sheet needs."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Report the progress to the caller."""
        ...


def draw_series_sheet(call: RunFunction, session: ProgressListener) -> bytes:
    """In the decode lane: the sheet as PNG.

    `call.arguments`: `columns` and `rows` (labels; one empty label where there is no such axis), and `blocks`, each with a
    `title` and `cells`, the paths of its images (bytes; None = not made) by rows.
    """
    columns, rows = call.arguments["columns"], call.arguments["rows"]
    blocks: list[dict[str, Any]] = call.arguments["blocks"]
    first = next((image for block in blocks for path in block["cells"] if (image := _open(path)) is not None), None)
    ratio = 1.0 if first is None else first.width / first.height
    cell = _cell_size(ratio, first, len(columns), len(rows) * len(blocks))
    font = label_font(max(MIN_FONT_PX, min(MAX_FONT_PX, max(cell) // FONT_SHARE)))
    table = _Table(columns, rows, cell, font, has_titles=any(block["title"] for block in blocks))
    sheet = Image.new("RGB", (table.width, GAP_PX + len(blocks) * table.height), BACKGROUND)
    for number, block in enumerate(blocks):
        session.progress("sheet", number, len(blocks))
        table.draw(sheet, GAP_PX + number * table.height, block["title"], block["cells"])
    file = io.BytesIO()
    sheet.save(file, "PNG", compress_level=6)
    return file.getvalue()


def _cell_size(ratio: float, image: Image.Image | None, columns: int, rows: int) -> tuple[int, int]:
    """Width and height of a cell in pixels: at most MAX_CELL_PX and the size of an image, and so that the sheet stays within its limit."""
    longest = min(MAX_CELL_PX, max(image.size)) if image is not None else MAX_CELL_PX
    longest = min(longest, int(MAX_SHEET_SIDE_PX / (columns + 1)), int(MAX_SHEET_SIDE_PX / (rows + 1)))
    longest = max(MIN_CELL_PX, longest)
    return (longest, max(1, round(longest / ratio))) if ratio >= 1 else (max(1, round(longest * ratio)), longest)


class _Table:
    """The layout of one block, the same for all."""

    def __init__(
        self, columns: list[str], rows: list[str], cell: tuple[int, int], font: LabelFont, *, has_titles: bool
    ) -> None:
        self._cell, self._font = cell, font
        self._line_px = round(font.size_px * 1.35)
        self._columns = [font.wrap(label, cell[0], LABEL_LINES) for label in columns]
        label_px = min(ROW_LABEL_EMS * font.size_px, math.ceil(max(map(font.length, rows))))
        self._rows = [font.wrap(label, label_px, max(1, cell[1] // self._line_px)) for label in rows]
        self._title_px = self._line_px + GAP_PX if has_titles else 0
        self._header_px = max(map(len, self._columns)) * self._line_px + GAP_PX if any(columns) else 0
        self._label_px = label_px + GAP_PX if any(rows) else 0
        self.width = GAP_PX + self._label_px + len(columns) * (cell[0] + GAP_PX)
        self.height = self._title_px + self._header_px + len(rows) * (cell[1] + GAP_PX) + GAP_PX

    def draw(self, sheet: Image.Image, top: int, title: str, cells: list[bytes | None]) -> None:
        draw, (width, height) = ImageDraw.Draw(sheet), self._cell
        left = GAP_PX + self._label_px
        if title:
            line = self._font.ellipsize(title, sheet.width - 2 * GAP_PX)
            self._font.draw(draw, (GAP_PX, top), line, TEXT_COLOR)
        header_top = top + self._title_px
        for column, lines in enumerate(self._columns):
            x = left + column * (width + GAP_PX)
            # Labels of fewer lines stand directly above their images.
            first = header_top + self._header_px - GAP_PX - len(lines) * self._line_px
            for number, line in enumerate(lines):
                centred = x + (width - self._font.length(line)) / 2
                self._font.draw(draw, (centred, first + number * self._line_px), line, TEXT_COLOR)
        table_top = header_top + self._header_px
        for row, lines in enumerate(self._rows):
            y = table_top + row * (height + GAP_PX)
            first = y + (height - len(lines) * self._line_px) // 2
            for number, line in enumerate(lines):
                self._font.draw(draw, (GAP_PX, first + number * self._line_px), line, TEXT_COLOR)
            for column in range(len(self._columns)):
                x = left + column * (width + GAP_PX)
                self._draw_cell(sheet, draw, (x, y), cells[row * len(self._columns) + column])

    def _draw_cell(
        self, sheet: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], path: bytes | None
    ) -> None:
        (x, y), (width, height) = corner, self._cell
        image = _open(path)
        if image is None:
            draw.rectangle((x, y, x + width - 1, y + height - 1), fill=CELL_BACKGROUND)
            line = self._font.ellipsize("not made" if path is None else "not readable", width)
            place = (x + (width - self._font.length(line)) / 2, y + (height - self._line_px) / 2)
            self._font.draw(draw, place, line, MUTED_TEXT_COLOR)
            return
        image.thumbnail((width, height), Image.Resampling.LANCZOS)
        sheet.paste(image.convert("RGB"), (x + (width - image.width) // 2, y + (height - image.height) // 2))


def _open(path: bytes | None) -> Image.Image | None:
    if path is None:
        return None
    try:
        return open_image(Path(os.fsdecode(path)))
    except (NotAnImage, NotRegularFile, OSError):
        return None
