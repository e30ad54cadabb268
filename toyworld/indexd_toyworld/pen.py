"""A drawing pen in the coordinates of a 64-pixel image, on a canvas of any size."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import ImageDraw

from indexd_toyworld.world import Colour

Point = tuple[float, float]


class Pen:
    """Draws filled and outlined figures; multiplies every length by `scale`."""

    def __init__(self, canvas: ImageDraw.ImageDraw, scale: float) -> None:
        self._canvas = canvas
        self._scale = scale

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.oval(x, y, radius, radius, colour)

    def oval(self, x: float, y: float, across: float, down: float, colour: Colour) -> None:
        self._canvas.ellipse(self._box(x - across, y - down, x + across, y + down), fill=colour)

    def ring(self, x: float, y: float, radius: float, width: float, colour: Colour) -> None:
        box = self._box(x - radius, y - radius, x + radius, y + radius)
        self._canvas.ellipse(box, outline=colour, width=self._stroke(width))

    def arc(
        self, x: float, y: float, across: float, down: float, start: float, end: float, width: float, colour: Colour
    ) -> None:
        """An arc of an ellipse from `start` to `end` degrees, clockwise from the right."""
        box = self._box(x - across, y - down, x + across, y + down)
        self._canvas.arc(box, start, end, fill=colour, width=self._stroke(width))

    def chord(self, x: float, y: float, across: float, down: float, start: float, end: float, colour: Colour) -> None:
        """The segment of an ellipse between `start` and `end` degrees, closed by a straight line."""
        self._canvas.chord(self._box(x - across, y - down, x + across, y + down), start, end, fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self._canvas.rectangle(self._box(left, top, right, bottom), fill=colour)

    def frame(self, left: float, top: float, right: float, bottom: float, width: float, colour: Colour) -> None:
        self._canvas.rectangle(self._box(left, top, right, bottom), outline=colour, width=self._stroke(width))

    def polygon(self, corners: Sequence[Point], colour: Colour) -> None:
        self._canvas.polygon([(x * self._scale, y * self._scale) for x, y in corners], fill=colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        scaled = [(x * self._scale, y * self._scale) for x, y in points]
        self._canvas.line(scaled, fill=colour, width=self._stroke(width), joint="curve")

    def _box(self, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return (left * self._scale, top * self._scale, right * self._scale, bottom * self._scale)

    def _stroke(self, width: float) -> int:
        return max(1, round(width * self._scale))
