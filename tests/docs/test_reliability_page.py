"""docs/reliability.md: the tests that stand behind each promise are there, and every fault test stands behind one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text("utf-8")
_TABLE = PAGE[PAGE.index("| promise") : PAGE.index("## Each fault")]
ROWS = [line for line in _TABLE.splitlines()[1:] if line.startswith("| ")]
_INVENTORY = PAGE[PAGE.index("| fault | injected by") : PAGE.index("## Limits")]
FAULTS = [line for line in _INVENTORY.splitlines()[1:] if line.startswith("| ")]
_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
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


def functions(file: str) -> set[str]:
    """The tests of a file, by name."""
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", FAULTS, ids=[row.split("|")[1].strip()[:40] for row in FAULTS])
def test_a_fault_has_tests_that_are_there_by_name(row: str) -> None:
    named = _TEST.findall(row.split("|")[2])
    assert named
    assert [f"{file}::{name}" for file, name in named if name not in functions(file)] == []


def test_every_test_that_injects_a_fault_is_in_the_inventory_or_promised() -> None:
    """The files whose every test is a fault of the list; the others hold smaller ones too."""
    listed = set(_TEST.findall(_INVENTORY))
    for file in ("faults/test_disk.py", "faults/test_starts.py", "faults/test_share.py", "faults/test_kills.py"):
        assert {(file, name) for name in functions(file) if name.startswith("test_")} <= listed


def test_the_tests_that_the_page_of_the_door_names_are_there() -> None:
    """Its table shortens: `…::test_x` is in the file named before it, `test_a_token_…` begins so."""
    there = {name for file in TESTS.rglob("test_*.py") for name in functions(str(file.relative_to(TESTS)))}
    named = re.findall(r"`(?:[\w/]+\.py::|…::)?(test_\w+)(…?)`", (TESTS.parent / "docs" / "api.md").read_text("utf-8"))
    assert len(named) > 20
    assert [
        name for name, rest in named if not (any(one.startswith(name) for one in there) if rest else name in there)
    ] == []


def test_what_is_run_by_hand_can_be_run() -> None:
    assert re.search(r"^soak:", (TESTS.parent / "Makefile").read_text("utf-8"), re.MULTILINE)
    asked = (TESTS / "faults" / "test_soak.py").read_text("utf-8")
    assert all(f'"{name}"' in asked for name in re.findall(r"`?(INDEXD_SOAK_\w+)=", PAGE))
