"""Plots the statistics as bar charts in one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from indexd.images.image_grid import save_png
from indexd.images.label_font import label_font
from indexd_schemas.api.library_reports import FiveStarRow, PromptTermRow, StatisticsReport

WIDTH_PX = 1100
LABEL_PX = 330
NUMBER_PX = 150
ROW_PX = 22
TITLE_PX = 40
MARGIN_PX = 24
MAX_ROWS = 40
BACKGROUND, INK, FAINT, LINE = "#ffffff", "#1d2129", "#6a7282", "#d9dde5"
BLUE, GREEN, RED, GREY = "#3f78c9", "#3a9a63", "#c9553f", "#9aa4b5"
VERDICTS = {"above": GREEN, "below": RED, "unclear": GREY}


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar from 0 to `value`; `low` and `high` are the ends of its error bar."""

    label: str
    value: float
    number: str
    colour: str = BLUE
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars on a common scale; the bars of negative values go to the left."""

    title: str
    bars: Sequence[Bar]


def write_plot(report: StatisticsReport, target: Path) -> None:
    """Write the PNG atomically. Raises IndexdError when it cannot be written."""
    charts = list(_charts(report))
    height = MARGIN_PX + sum(TITLE_PX + ROW_PX * len(chart.bars) + MARGIN_PX for chart in charts)
    page = Image.new("RGB", (WIDTH_PX, max(height, 2 * MARGIN_PX)), BACKGROUND)
    draw, y = ImageDraw.Draw(page), MARGIN_PX
    for chart in charts:
        y = _draw_chart(draw, chart, y) + MARGIN_PX
    save_png(page, target, "plot")


def _charts(report: StatisticsReport) -> list[Chart]:
    charts = [
        Chart(
            f"Images by {table.key}",
            [Bar(row.value, row.images, f"{row.images} ({row.share:.1%})") for row in table.rows[:MAX_ROWS]],
        )
        for table in report.tables
    ]
    if report.five_stars:
        bars = [_five_star_bar(row) for row in report.five_stars[: 2 * MAX_ROWS]]
        charts.append(Chart("Share of five stars, with its 95 % interval", bars))
    terms = [*report.terms_for[: MAX_ROWS // 2], *reversed(report.terms_against[: MAX_ROWS // 2])]
    charts.append(Chart("Prompt terms: with five stars to the right, with fewer to the left (z)", _term_bars(terms)))
    return [chart for chart in charts if chart.bars]


def _five_star_bar(row: FiveStarRow) -> Bar:
    number = f"{row.five} of {row.compared} ({row.share:.0%})"
    return Bar(f"{row.key} {row.value}", row.share, number, VERDICTS[row.verdict], row.low, row.high)


def _term_bars(terms: Sequence[PromptTermRow]) -> list[Bar]:
    return [Bar(row.term, row.z, f"{row.z:+.1f}", GREEN if row.z > 0 else RED) for row in terms]


def _draw_chart(draw: ImageDraw.ImageDraw, chart: Chart, top: int) -> int:
    """Draw a chart below `top`, and return its lower end. Both in pixels."""
    font, title_font = label_font(13), label_font(17)
    title_font.draw(draw, (MARGIN_PX, top), chart.title, INK)
    low = min(0.0, *(bar.value for bar in chart.bars))
    high = max(0.0, *(bar.high if bar.high is not None else bar.value for bar in chart.bars))
    left = MARGIN_PX + LABEL_PX
    scale = (WIDTH_PX - MARGIN_PX - NUMBER_PX - left) / ((high - low) or 1.0)

    def x(value: float) -> float:
        return left + (value - low) * scale

    y = top + TITLE_PX
    draw.line((x(0), y - 4, x(0), y + ROW_PX * len(chart.bars)), fill=LINE)
    for bar in chart.bars:
        label = font.ellipsize(bar.label, LABEL_PX - 14)
        font.draw(draw, (left - 10 - font.length(label), y + 2), label, INK)
        draw.rectangle((min(x(0), x(bar.value)), y + 3, max(x(0), x(bar.value)), y + ROW_PX - 5), fill=bar.colour)
        if bar.low is not None and bar.high is not None:
            middle = y + ROW_PX // 2 - 1
            draw.line((x(bar.low), middle, x(bar.high), middle), fill=INK)
            for end in (bar.low, bar.high):
                draw.line((x(end), middle - 4, x(end), middle + 4), fill=INK)
        font.draw(draw, (WIDTH_PX - MARGIN_PX - NUMBER_PX + 12, y + 2), bar.number, FAINT)
        y += ROW_PX
    return y
