"""Pictures in rows on one sheet, each with a line of text under it: what the card of the toy world shows."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

CELL = 96
GAP = 6
TEXT_HEIGHT = 13


def make_sheet(pictures: Sequence[Image.Image], texts: Sequence[str] = (), across: int = 6) -> Image.Image:
    """`pictures` fitted into cells of 96 pixels, `across` in a row; `texts`, where given, one for each picture."""
    if texts and len(texts) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures but {len(texts)} texts")
    below = TEXT_HEIGHT if texts else 0
    rows = -(-len(pictures) // across)
    whole = Image.new("RGB", (across * (CELL + GAP) + GAP, rows * (CELL + below + GAP) + GAP), "white")
    pen = ImageDraw.Draw(whole)
    font = ImageFont.load_default(9)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, across)
        left, top = GAP + column * (CELL + GAP), GAP + row * (CELL + below + GAP)
        scale = min(CELL / picture.width, CELL / picture.height)
        size = (round(picture.width * scale), round(picture.height * scale))
        small = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        whole.paste(small, (left + (CELL - size[0]) // 2, top + (CELL - size[1]) // 2))
        if texts:
            pen.text((left, top + CELL), _truncate_to_cell(texts[place], font), fill="black", font=font)
    return whole


def _truncate_to_cell(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of the text as a cell is wide."""
    while text and font.getlength(text) > CELL:
        text = text[:-1]
    return text
