"""docs/reliability.md: the tests that stand behind each promise are there, and every fault test stands behind one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text("utf-8")
_TABLE = PAGE[PAGE.index("| promise") : PAGE.index("## Limits")]
ROWS = [line for line in _TABLE.splitlines()[1:] if line.startswith("| ")]
_FILE = re.compile(r"`([\w/]+\.py)`")


def test_there_are_promises() -> None:
    assert len(ROWS) > 10


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip()[:40] for row in ROWS])
def test_a_promise_has_tests_that_are_there(row: str) -> None:
    named = _FILE.findall(row.split("|")[3])
    assert named
    assert [name for name in named if not (TESTS / name).is_file()] == []


def test_every_fault_test_stands_behind_a_promise() -> None:
    there = {f"faults/{path.name}" for path in (TESTS / "faults").glob("test_*.py")}
    assert there <= set(_FILE.findall("\n".join(ROWS)))


def test_what_is_run_by_hand_can_be_run() -> None:
    assert re.search(r"^soak:", (TESTS.parent / "Makefile").read_text("utf-8"), re.MULTILINE)
    asked = (TESTS / "faults" / "test_soak.py").read_text("utf-8")
    assert all(f'"{name}"' in asked for name in re.findall(r"`?(INDEXD_SOAK_\w+)=", PAGE))
