"""The walls of the design: who may import whom, and that the daemon's half never loads torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Left to right along the flow of the data: a room imports only what stands to its left (or itself).
ROOMS = (
    "indexd_schemas",
    "indexd.errors",
    "indexd.prompts",
    "indexd.aesthetics",
    "indexd.reproducibility",
    "indexd.pulse",
    "indexd.heap",
    "indexd.config",
    "indexd.instance",
    "indexd.registry",
    "indexd.worker.calls",
    "indexd.watch",
    "indexd.images",
    "indexd.store",
    "indexd.worker",
    "indexd.roles",
    "indexd.layers",
    "indexd.search",
    "indexd.duplicates",
    "indexd.statistics",
    "indexd.characters",
    "indexd.catalogue",
    "indexd.jobs",
    "indexd.later",
    "indexd.intake",
    "indexd.upkeep",
    "indexd.service",
    "indexd.api",
    "indexd_handlers",
    "indexd.logs",
    "indexd.daemon",
    "indexd.serve",
    "indexd.doctor",
    "indexd_toyworld",
    "indexd.demo",
    "indexd.cli",
)
TORCH_SIDE = ("indexd.models", "indexd.control", "indexd.generate")
# Run by hand, by no daemon and no worker: they may import anything, and nothing imports them.
BY_HAND = ("indexd_toyworld.train", "indexd_toyworld.evaluate")
HEAVY = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "open_clip",
    "sentence_transformers",
    "ultralytics",
    "peft",
    "spandrel",
    "accelerate",
)
# The worker's child is the one door through which torch comes in; the toy world writes its models' files by hand.
DOORS = (
    "indexd.worker.child",
    "indexd_toyworld.original_layout",
    "indexd_toyworld.single_file",
    "indexd_toyworld.tokenizer",
)


def _modules() -> Iterator[tuple[str, Path]]:
    for source in (REPOSITORY, *(REPOSITORY / root for root in ("handlers", "schemas", "toyworld"))):
        for package in source.glob("indexd*/"):
            for file in package.rglob("*.py"):
                yield ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__"), file


@cache
def _imports(file: Path) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    unreal = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and _is_type_checking(node)
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in unreal:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _is_type_checking(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _room(module: str) -> str | None:
    """The room of a module: the longest name in the tables that holds it."""
    rooms = [room for room in (*ROOMS, *TORCH_SIDE, *BY_HAND) if module == room or module.startswith(room + ".")]
    return max(rooms, key=len, default=None)


MODULES = dict(_modules())


def test_every_module_has_a_room() -> None:
    assert [name for name in MODULES if _room(name) is None and name not in ("indexd", "indexd.__main__")] == []


@pytest.mark.parametrize("name", sorted(name for name in MODULES if _room(name) not in BY_HAND))
def test_a_module_imports_only_to_its_left(name: str) -> None:
    room = _room(name)
    wrong = []
    for imported in _imports(MODULES[name]):
        other = _room(imported)
        if other is None or other == room:
            continue
        if other in BY_HAND:
            allowed = False
        elif other in TORCH_SIDE:
            allowed = room in TORCH_SIDE or name in DOORS
        elif room in TORCH_SIDE:
            allowed = other in (
                "indexd_schemas",
                "indexd.errors",
                "indexd.prompts",
                "indexd.aesthetics",
                "indexd.worker.calls",
                "indexd.worker",
                "indexd.images",
            )
        else:
            allowed = room is None or ROOMS.index(other) < ROOMS.index(room)
        if not allowed:
            wrong.append(imported)
    assert wrong == []


@pytest.mark.parametrize(
    "name", sorted(name for name in MODULES if _room(name) not in (*TORCH_SIDE, *BY_HAND) and name not in DOORS)
)
def test_only_the_torch_side_imports_torch(name: str) -> None:
    assert [imported for imported in _imports(MODULES[name]) if imported.split(".")[0] in HEAVY] == []


def test_importing_the_daemon_and_its_handlers_loads_no_torch() -> None:
    script = (
        "import sys, indexd.daemon, indexd.cli\n"
        "from indexd.registry import file_kinds, job_kinds; file_kinds.fill(), job_kinds.fill()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_sql_stays_in_the_store() -> None:
    foreign = [
        name
        for name, file in MODULES.items()
        if _room(name) != "indexd.store" and "apsw" in {i.split(".")[0] for i in _imports(file)}
    ]
    assert foreign == []
