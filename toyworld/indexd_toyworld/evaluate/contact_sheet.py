"""Contact sheets for the card of the toy world: rows of images with a line of text under each."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

CELL = 96
GAP = 6
TEXT_HEIGHT = 13


def make_sheet(images: Sequence[Image.Image], texts: Sequence[str] = (), across: int = 6) -> Image.Image:
    """Fit images into cells of 96 pixels, `across` in a row, with one optional text each."""
    if texts and len(texts) != len(images):
        raise ValueError(f"{len(images)} images but {len(texts)} texts")
    below = TEXT_HEIGHT if texts else 0
    rows = -(-len(images) // across)
    whole = Image.new("RGB", (across * (CELL + GAP) + GAP, rows * (CELL + below + GAP) + GAP), "white")
    pen = ImageDraw.Draw(whole)
    font = ImageFont.load_default(9)
    for place, image in enumerate(images):
        row, column = divmod(place, across)
        left, top = GAP + column * (CELL + GAP), GAP + row * (CELL + below + GAP)
        scale = min(CELL / image.width, CELL / image.height)
        size = (round(image.width * scale), round(image.height * scale))
        small = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        whole.paste(small, (left + (CELL - size[0]) // 2, top + (CELL - size[1]) // 2))
        if texts:
            pen.text((left, top + CELL), _truncate_to_cell(texts[place], font), fill="black", font=font)
    return whole


def _truncate_to_cell(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, truncated to the width of a cell."""
    while text and font.getlength(text) > CELL:
        text = text[:-1]
    return text
