"""ARCHITECTURE.md: every package has its line, and the files that it names for an addition exist."""

from __future__ import annotations

import re

from tests.support.paths import REPOSITORY

PAGE = (REPOSITORY / "ARCHITECTURE.md").read_text("utf-8")
_TABLE = PAGE.partition("## Packages")[2].partition("\n\n`indexd/daemon.py`")[0]
ROWS = [line.split("|")[1:-1] for line in _TABLE.splitlines() if line.startswith("| `")]


def test_every_package_has_a_line() -> None:
    folders = {
        f"{path.parent.relative_to(REPOSITORY)}/"
        for tree in ("indexd", "handlers", "schemas", "toyworld")
        for path in (REPOSITORY / tree).glob("*/__init__.py")
    }
    listed = [cells[0].strip().strip("`") for cells in ROWS]
    assert sorted(listed) == sorted(folders)


def test_every_named_path_exists() -> None:
    named = re.findall(r"`((?:indexd|handlers|schemas|toyworld|tests)/[\w./]+)`", PAGE)
    assert len(named) > 40
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


def test_the_page_is_at_most_two_printed_pages() -> None:
    assert len(PAGE.splitlines()) <= 130
