"""docs/monitoring.md lists exactly the metrics that the daemon reports."""

from __future__ import annotations

import re

from tests.support.paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "monitoring.md").read_text("utf-8")
SOURCE = (REPOSITORY / "indexd" / "api" / "metrics.py").read_text("utf-8")


def test_the_table_lists_every_metric_and_no_other() -> None:
    table = PAGE.partition("| metric | meaning |")[2].partition("\n\n")[0]
    listed = set(re.findall(r"`(indexd_\w+)", table))
    families = set(re.findall(r'"(indexd_\w+)"', SOURCE)) - {"indexd_render_seconds"}
    assert listed == families


def test_alerts_use_existing_metrics() -> None:
    alerts = PAGE.partition("Useful alerts:")[2].partition("\n## ")[0]
    used = set(re.findall(r"\b(indexd_\w+)", alerts))
    assert used
    assert used <= set(re.findall(r'"(indexd_\w+)"', SOURCE))
