"""The evaluation's own arithmetic: bars, the table, the card."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from indexd_toyworld.evaluate.card import metrics_table, write_card
from indexd_toyworld.evaluate.contact_sheet import CELL, make_sheet
from indexd_toyworld.evaluate.metrics import EvaluationResult, Metric

RESULTS = (
    EvaluationResult(
        "Words",
        (
            Metric("recall", 0.97, minimum=0.95, remark="500 captions"),
            Metric("seconds", 2.5, maximum=2.0, unit="s"),
            Metric("told only", 12.0),
        ),
        {"words": Image.new("RGB", (8, 8))},
    ),
)


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Metric("a", 0.95, minimum=0.95), True),
        (Metric("a", 0.9499, minimum=0.95), False),
        (Metric("a", 2.0, maximum=2.0), True),
        (Metric("a", 2.01, maximum=2.0), False),
        (Metric("a", 3.0, minimum=1.0, maximum=2.0), False),
        (Metric("a", math.nan, minimum=0.95), False),
        (Metric("a", math.nan, maximum=2.0), False),
        (Metric("a", 1.0), None),
    ],
)
def test_a_bar_is_reached_or_not(figure: Metric, met: bool | None) -> None:
    assert figure.is_met is met


def test_the_table_shows_every_figure_with_its_bar() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(metrics_table(RESULTS))
    told = console.export_text()
    for part in ("Words", "recall", "0.970", "≥ 0.95", "2.5 s", "≤ 2", "told only", "12.0", "500 captions"):
        assert part in told


def test_the_card_says_what_was_met_and_holds_its_sheets(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    (weights / "bge").mkdir(parents=True)
    (weights / "bge" / "model.safetensors").write_bytes(bytes(2_500_000))
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "toyworld-gone.png").write_bytes(b"old")
    write_card(RESULTS, weights, docs)
    page = (docs / "toyworld.md").read_text("utf-8")
    assert "| recall | 0.970 | ≥ 0.95 | met, 500 captions |" in page
    assert "| seconds | 2.5 s | ≤ 2 | **missed** |" in page
    assert "| `bge` | 2.50 |" in page
    assert "![words](toyworld-words.png)" in page
    assert "{figures}" not in page
    assert sorted(path.name for path in docs.iterdir()) == ["toyworld-words.png", "toyworld.md"]


def test_a_sheet_keeps_the_shape_of_its_pictures() -> None:
    whole = make_sheet(
        [Image.new("RGB", (200, 100), "red"), Image.new("RGB", (10, 10), "blue")], ["long " * 40, ""], across=2
    )
    pixels = whole.load()
    assert pixels is not None
    assert pixels[6 + CELL // 2, 6 + 2] == (255, 255, 255)
    assert pixels[6 + CELL // 2, 6 + CELL // 2] == (255, 0, 0)
    assert pixels[6 + CELL + 6 + 2, 6 + 2] == (0, 0, 255)


def test_a_sheet_refuses_texts_that_do_not_belong_to_its_pictures() -> None:
    with pytest.raises(ValueError, match="1 images but 2 texts"):
        make_sheet([Image.new("RGB", (8, 8))], ["a", "b"])
