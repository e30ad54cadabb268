"""`python -m indexd_toyworld.evaluate`:

measures the weights against every bar, prints the result and writes docs/toyworld.md.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from indexd_toyworld.evaluate.card import metrics_table, write_card
from indexd_toyworld.evaluate.metrics import EvaluationResult
from indexd_toyworld.model_paths import SHIPPED_WEIGHTS

GROUPS = ("meaning", "text", "generation", "controlnet", "ip_adapter", "lora", "faces", "detector", "upscaler")
"""The modules of this folder in the order of the page. Each has `evaluate(weights, progress)`."""
DOCS = Path("docs")


def main() -> int:
    """Measure, print and write. Returns 1 when a bar is missed."""
    asked = _arguments()
    results = [_run(name, asked.weights) for name in asked.only or GROUPS]
    Console().print(metrics_table(results))
    if not asked.only and asked.card.is_dir():
        write_card(results, asked.weights, asked.card)
    missed = [figure for result in results for figure in result.metrics if figure.is_met is False]
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m indexd_toyworld.evaluate", description=main.__doc__)
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS, help="default: the ones that ship")
    parser.add_argument("--only", choices=GROUPS, action="append", help="this group only (may be repeated); no card")
    parser.add_argument("--card", type=Path, default=DOCS, help="the folder of toyworld.md and its sheets")
    return parser.parse_args()


def _run(name: str, weights: Path) -> EvaluationResult:
    group = importlib.import_module(f"indexd_toyworld.evaluate.{name}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=None)

        def progress(what: str, done: int, total: int) -> None:
            bars.update(task, description=f"{name}: {what}", completed=done, total=total)

        result: EvaluationResult = group.evaluate(weights, progress)
    return result


if __name__ == "__main__":
    sys.exit(main())
