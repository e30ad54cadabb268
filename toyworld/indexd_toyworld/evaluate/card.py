"""The model card docs/toyworld.md: the toy world, its training, and every figure with its bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from rich.table import Table

from indexd_toyworld.evaluate.metrics import EvaluationResult, Metric

PAGE = "toyworld.md"
SHEET_PREFIX = "toyworld-"


def metrics_table(results: Sequence[EvaluationResult]) -> Table:
    """The figures as a table for a terminal."""
    shown = Table("", "measured", "bar", "", title="The toy world's models")
    for result in results:
        shown.add_section()
        shown.add_row(f"[bold]{result.title}")
        for figure in result.metrics:
            colour = {True: "[green]", False: "[red]", None: ""}[figure.is_met]
            shown.add_row(f"  {figure.name}", f"{colour}{_number(figure)}", _bar(figure), figure.remark)
    return shown


def write_card(results: Sequence[EvaluationResult], weights: Path, folder: Path) -> None:
    """Write the card and its contact sheets into `folder`; delete sheets that no longer exist."""
    sheets = {f"{SHEET_PREFIX}{name}.png": image for result in results for name, image in result.sheets.items()}
    for old in folder.glob(f"{SHEET_PREFIX}*.png"):
        if old.name not in sheets:
            old.unlink()
    for name, image in sheets.items():
        image.save(folder / name, optimize=True)
    about = resources.files("indexd_toyworld.evaluate").joinpath("card.md").read_text("utf-8")
    page = about.replace("{figures}", "\n".join(_metric_lines(results))).replace(
        "{sizes}", "\n".join(_size_lines(weights))
    )
    (folder / PAGE).write_text(page, "utf-8")


def _metric_lines(results: Sequence[EvaluationResult]) -> Iterator[str]:
    for result in results:
        yield from (f"### {result.title}", "| | measured | bar | |", "|---|---|---|---|")
        for figure in result.metrics:
            verdict = {True: "met", False: "**missed**", None: ""}[figure.is_met]
            remark = ", ".join(part for part in (verdict, figure.remark) if part)
            yield f"| {figure.name} | {_number(figure)} | {_bar(figure)} | {remark} |"
        yield ""
        yield from (f"![{name}]({SHEET_PREFIX}{name}.png)\n" for name in result.sheets)


def _size_lines(weights: Path) -> Iterator[str]:
    """Size of every model folder in order of name, then the sum."""
    yield from ("| folder | MB |", "|---|---|")
    sizes = {
        folder.name: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
        for folder in sorted(weights.iterdir())
        if folder.is_dir()
    }
    yield from (f"| `{name}` | {size:.2f} |" for name, size in sizes.items())
    yield f"| in all | {sum(sizes.values()):.1f} |"


def _number(figure: Metric) -> str:
    digits = 3 if abs(figure.value) < 2 else 1
    return f"{figure.value:.{digits}f} {figure.unit}".rstrip()


def _bar(figure: Metric) -> str:
    parts = [
        f"{sign} {value:.2f}".rstrip("0").rstrip(".")
        for sign, value in (("≥", figure.minimum), ("≤", figure.maximum))
        if value is not None
    ]
    return ", ".join(parts)
