"""Every link of the documentation leads to a file, and every path of the tree that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
_TREES = "indexd|docs|tests|schemas|handlers|toyworld|bench|systemd|indexd_schemas|indexd_toyworld|indexd_handlers"
_PATH = re.compile(rf"`((?:{_TREES})/[\w./@-]+)`")
_PARENTS = {"indexd_schemas": "schemas", "indexd_toyworld": "toyworld", "indexd_handlers": "handlers"}


def _exists(named: str) -> bool:
    path = Path(_PARENTS.get(named.partition("/")[0], ""), named)
    # A template such as schema/NNNN_*.sql, or a folder that a command creates.
    return (REPOSITORY / path).exists() or named in ("toyworld/.build/",)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_paths_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [named for named in _PATH.findall(text) if not _exists(named)] == []


def test_the_reading_order_lists_every_page() -> None:
    index = REPOSITORY / "docs" / "index.md"
    listed = {Path(link).name for link in re.findall(r"\]\(([^)#\s]+)", index.read_text("utf-8"))}
    assert {page.name for page in PAGES} - listed == {"index.md"}
