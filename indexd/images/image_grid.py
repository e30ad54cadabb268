"""What contact sheets and plots need: cells with two lines below, a file as a small image, a page written in one step."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, ImageDraw

from indexd.errors import IndexdError, NotAnImage, NotRegularFile
from indexd.images.decode import open_image
from indexd.images.label_font import label_font

GAP_PX = 8
BACKGROUND, CELL_BACKGROUND, TEXT_COLOR, MUTED_TEXT_COLOR = "#16181d", "#23262e", "#e8eaf0", "#9aa1b2"


class ImageGrid:
    """Square cells of `cell_px` with `caption_px` below each, in a grid of `columns` x `rows`; `title_px` stand above a row."""

    def __init__(self, columns: int, rows: int, cell_px: int, caption_px: int, font_px: int, title_px: int = 0) -> None:
        self.columns = columns
        self._cell_px = cell_px
        self._font_px = font_px
        self._title_px = title_px
        self._row_px = title_px + cell_px + caption_px + GAP_PX
        self._image = Image.new(
            "RGB", (GAP_PX + columns * (cell_px + GAP_PX), GAP_PX + rows * self._row_px), BACKGROUND
        )
        self._draw = ImageDraw.Draw(self._image)
        self._font = label_font(font_px)

    def draw_title(self, row: int, text: str) -> None:
        """A line above a row."""
        self._font.draw(self._draw, (GAP_PX, GAP_PX + row * self._row_px + 4), text, TEXT_COLOR)

    def draw_cell(
        self, index: int, image: Image.Image | None, first_line: str, second_line: str, frame_color: str | None = None
    ) -> None:
        """Fill cell `index`, counted by rows: the image centred (None = empty), two lines of text, a coloured frame."""
        row, column = divmod(index, self.columns)
        side = self._cell_px
        x, y = GAP_PX + column * (side + GAP_PX), GAP_PX + row * self._row_px + self._title_px
        square = (x, y, x + side - 1, y + side - 1)
        self._draw.rectangle(square, fill=CELL_BACKGROUND)
        if image is not None:
            self._image.paste(image, (x + (side - image.width) // 2, y + (side - image.height) // 2))
        if frame_color is not None:
            self._draw.rectangle(square, outline=frame_color, width=3)
        first, second = (self._font.ellipsize(line, side) for line in (first_line, second_line))
        self._font.draw(self._draw, (x, y + side + 3), first, TEXT_COLOR)
        self._font.draw(self._draw, (x, y + side + self._font_px + 7), second, MUTED_TEXT_COLOR)

    def save(self, target: Path) -> None:
        """Write the sheet, whole or not at all. Raises IndexdError when it cannot be written."""
        save_png(self._image, target, "sheet")


def load_small_image(thumbnail: Path, path: str | None, size_px: int) -> Image.Image | None:
    """The image within `size_px` square: from its thumbnail, else from its file; None when neither can be opened."""
    for source in (thumbnail, Path(path) if path else None):
        if source is None or not source.is_file():
            continue
        try:
            small = open_image(source)
        except (NotAnImage, NotRegularFile, OSError):
            continue  # the cell stays empty
        small.thumbnail((size_px, size_px))
        return small
    return None


def save_png(image: Image.Image, target: Path, description: str) -> None:
    """Write a page as PNG, whole or not at all. Raises IndexdError that names `description` if that fails."""
    # The first part of the name is hidden and ends as temporary files do, so that a watched folder ignores it.
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        image.save(partial, "PNG")
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise IndexdError(f"cannot write the {description} {target}: {error.strerror or error}") from None
