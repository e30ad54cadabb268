"""docs/reliability.md: the tests of each guarantee exist, and every fault test belongs to a guarantee."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.paths import TESTS

PAGE = (TESTS.parent / "docs" / "reliability.md").read_text("utf-8")
_TABLE = PAGE[PAGE.index("| guarantee") : PAGE.index("## Each fault")]
ROWS = [line for line in _TABLE.splitlines()[1:] if line.startswith("| ")]
_INVENTORY = PAGE[PAGE.index("| fault | injected by") : PAGE.index("## Limits")]
FAULTS = [line for line in _INVENTORY.splitlines()[1:] if line.startswith("| ")]
_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
_FILE = re.compile(r"`([\w/]+\.py)`")


def test_the_page_lists_guarantees() -> None:
    assert len(ROWS) > 10


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip()[:40] for row in ROWS])
def test_the_tests_of_a_guarantee_exist(row: str) -> None:
    named = _FILE.findall(row.split("|")[3])
    assert named
    assert [name for name in named if not (TESTS / name).is_file()] == []


def test_every_fault_test_belongs_to_a_guarantee() -> None:
    existing = {f"faults/{path.name}" for path in (TESTS / "faults").glob("test_*.py")}
    assert existing <= set(_FILE.findall("\n".join(ROWS)))


def functions(file: str) -> set[str]:
    """Names of the top-level functions of a test file."""
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", FAULTS, ids=[row.split("|")[1].strip()[:40] for row in FAULTS])
def test_the_tests_of_a_fault_exist_by_name(row: str) -> None:
    named = _TEST.findall(row.split("|")[2])
    assert named
    assert [f"{file}::{name}" for file, name in named if name not in functions(file)] == []


def test_every_fault_test_is_in_the_inventory() -> None:
    """Checks the files in which every test injects a fault of the inventory."""
    listed = set(_TEST.findall(_INVENTORY))
    for file in ("faults/test_disk.py", "faults/test_starts.py", "faults/test_share.py", "faults/test_kills.py"):
        assert {(file, name) for name in functions(file) if name.startswith("test_")} <= listed


def test_the_tests_named_by_the_api_page_exist() -> None:
    """The table abbreviates: `…::test_x` is in the file named before it, and `test_a_token_…` is a prefix."""
    existing = {name for file in TESTS.rglob("test_*.py") for name in functions(str(file.relative_to(TESTS)))}
    named = re.findall(r"`(?:[\w/]+\.py::|…::)?(test_\w+)(…?)`", (TESTS.parent / "docs" / "api.md").read_text("utf-8"))
    assert len(named) > 20
    assert [
        name
        for name, rest in named
        if not (any(one.startswith(name) for one in existing) if rest else name in existing)
    ] == []


def test_the_manual_commands_exist() -> None:
    assert re.search(r"^soak:", (TESTS.parent / "Makefile").read_text("utf-8"), re.MULTILINE)
    source = (TESTS / "soak" / "test_soak.py").read_text("utf-8")
    assert all(f'"{name}"' in source for name in re.findall(r"`?(INDEXD_SOAK_\w+)=", PAGE))
