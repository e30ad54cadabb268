"""Import layers: which package may import which, and that the daemon never loads torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

# From low to high: a package imports only packages above it in this list, and itself.
LAYERS = (
    "indexd.image_metadata",
    "indexd.reproducibility",
    "indexd.name_key",
    "indexd.text_tokens",
    "indexd.templates",
    "indexd_schemas",
    "indexd.errors",
    "indexd.model_headers",
    "indexd.prompts",
    "indexd.aesthetic_head",
    "indexd.liveness",
    "indexd.background",
    "indexd.malloc",
    "indexd.fs",
    "indexd.settings_environment",
    "indexd.config",
    "indexd.instance_lock",
    "indexd.registry",
    "indexd.worker.calls",
    "indexd.watch",
    "indexd.images",
    "indexd.model_inspection",
    "indexd.render_stages",
    "indexd.vector_index",
    "indexd.store",
    "indexd.worker",
    "indexd.model_roles",
    "indexd.indexing",
    "indexd.search",
    "indexd.duplicates",
    "indexd.statistics",
    "indexd.characters",
    "indexd.model_files",
    "indexd.jobs",
    "indexd.ingest",
    "indexd.state_file_monitor",
    "indexd.maintenance_scheduler",
    "indexd.service",
    "indexd.api",
    "indexd_handlers",
    "indexd.logging_setup",
    "indexd.daemon",
    "indexd.process_lifecycle",
    "indexd.doctor",
    "indexd_toyworld",
    "indexd.demo",
    "indexd.cli",
)
TORCH_SIDE = ("indexd.models", "indexd.control_maps", "indexd.generate")
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
# Modules outside TORCH_SIDE that may import torch: the worker process, and writers of the toy world's model files.
MAY_IMPORT_TORCH = (
    "indexd.worker.child.call_server",
    "indexd_toyworld.original_layout",
    "indexd_toyworld.single_file",
    "indexd_toyworld.toy_tokenizer",
    # Only in `run`, which the worker calls.
    "indexd.render_stages.detail",
    "indexd.render_stages.hires",
    "indexd.render_stages.refine",
    "indexd.render_stages.upscale",
)
# What the torch side may use of the rest.
SHARED_WITH_TORCH_SIDE = (
    "indexd.name_key",
    "indexd_schemas",
    "indexd.errors",
    "indexd.model_headers",
    "indexd.prompts",
    "indexd.aesthetic_head",
    "indexd.worker.calls",
    "indexd.worker",
    "indexd.image_metadata",
    "indexd.images",
    "indexd.render_stages",
)
# Could be published on their own: they import nothing else of indexd.
STANDALONE = ("indexd.image_metadata", "indexd.templates", "indexd.vector_index")


def _modules() -> Iterator[tuple[str, Path]]:
    for source in (REPOSITORY, *(REPOSITORY / root for root in ("handlers", "schemas", "toyworld"))):
        for package in source.glob("indexd*/"):
            for file in package.rglob("*.py"):
                yield ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__"), file


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every statement below `node`, those under `if TYPE_CHECKING:` left out. Expressions, most of a tree, are skipped."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, field, None) or ():
            if isinstance(inner, ast.If) and isinstance(inner.test, ast.Name) and inner.test.id == "TYPE_CHECKING":
                continue
            yield inner
            yield from _statements(inner)


@cache
def _imports(file: Path) -> set[str]:
    """The modules that `file` imports, those under `if TYPE_CHECKING:` left out."""
    names: set[str] = set()
    for node in _statements(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _layer_of(module: str) -> str | None:
    """The entry of the tables that holds `module`: the longest matching prefix."""
    layers = [layer for layer in (*LAYERS, *TORCH_SIDE, *BY_HAND) if module == layer or module.startswith(layer + ".")]
    return max(layers, key=len, default=None)


MODULES = dict(_modules())


def _may_import(module: str, imported: str) -> bool:
    layer, other = _layer_of(module), _layer_of(imported)
    if other is None or other == layer or layer in BY_HAND:
        return True
    if other in BY_HAND:
        return False
    if other in TORCH_SIDE:
        return layer in TORCH_SIDE or module in MAY_IMPORT_TORCH
    if layer in TORCH_SIDE:
        return other in SHARED_WITH_TORCH_SIDE
    return layer is None or LAYERS.index(other) < LAYERS.index(layer)


def test_every_module_belongs_to_a_layer() -> None:
    assert [name for name in MODULES if _layer_of(name) is None and name not in ("indexd", "indexd.__main__")] == []


def test_modules_import_only_lower_layers() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, file in MODULES.items()
        for imported in _imports(file)
        if not _may_import(name, imported)
    ]
    assert wrong == []


def test_a_standalone_package_imports_nothing_else_of_indexd() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, file in MODULES.items()
        if (layer := _layer_of(name)) in STANDALONE
        for imported in _imports(file)
        if imported.startswith("indexd") and _layer_of(imported) != layer
    ]
    assert wrong == []


def test_only_the_torch_side_imports_torch() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, file in MODULES.items()
        if _layer_of(name) not in (*TORCH_SIDE, *BY_HAND) and name not in MAY_IMPORT_TORCH
        for imported in _imports(file)
        if imported.split(".")[0] in HEAVY
    ]
    assert wrong == []


@pytest.mark.starts_process
def test_importing_the_daemon_and_its_handlers_loads_no_torch() -> None:
    script = (
        "import sys, indexd.daemon, indexd.cli\n"
        "from indexd.registry import file_kinds, job_kinds; file_kinds.fill(), job_kinds.fill()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


PARSERS = (
    "PIL",
    "indexd.image_metadata.comfyui_graph",
    "indexd.image_metadata.containers.container_reader",
    "indexd.image_metadata.file_reader",
    "indexd.image_metadata.formats",
    "indexd.image_metadata.parser",
    "indexd.image_metadata.photo_annotations",
)
"""What reads bytes and texts of strangers: only worker processes load it."""


SLOW_FOR_CLIENTS = (
    "numpy",
    "pydantic_settings",
    "asyncio",
    "rich",
    "PIL",
    "indexd.search.search",
    "indexd.store.sqlite",
)


@pytest.mark.starts_process
@pytest.mark.parametrize("module", ["images", "annotation"])
def test_a_client_of_the_daemon_loads_nothing_slow(module: str) -> None:
    script = (
        f"import sys, indexd.cli.app, indexd.cli.commands.query, indexd.cli.commands.rate, indexd.cli.commands.tag\n"
        f"import indexd.api.operations.{module}, indexd.search.query.filter_language\n"
        "from indexd.api.connect import find_running_daemon; from pathlib import Path\n"
        "assert find_running_daemon(Path('/nowhere')) is None\n"
        f"print([name for name in {SLOW_FOR_CLIENTS!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.starts_process
def test_the_daemon_and_its_handlers_load_no_image_parser() -> None:
    script = (
        "import sys, indexd.daemon\n"
        "from indexd.registry import load_handlers; load_handlers()\n"
        f"print([name for name in sys.modules if f'{{name}}.'.startswith({tuple(f'{name}.' for name in PARSERS)!r})])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_only_the_sqlite_back_end_imports_apsw() -> None:
    foreign = [
        name
        for name, file in MODULES.items()
        if not name.startswith("indexd.store.sqlite") and "apsw" in {i.split(".")[0] for i in _imports(file)}
    ]
    assert foreign == []


def test_only_the_sqlite_back_end_contains_sql() -> None:
    statement = re.compile(
        r"\bjson_each\b|\bcarray\b|\bvec0\b|\bPRAGMA\b|^\s*(SELECT .* FROM|INSERT (OR \w+ )?INTO|UPDATE \w+ SET"
        r"|DELETE FROM|CREATE (VIRTUAL )?TABLE)\b",
        re.DOTALL,
    )
    keyword = re.compile(r"json_each|carray|vec0|PRAGMA|SELECT|INSERT|UPDATE|DELETE|CREATE")
    foreign = [
        f"{name}: {node.value.strip()[:60]}"
        for name, file in MODULES.items()
        if not name.startswith("indexd.store.sqlite") and keyword.search(text := file.read_text("utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and statement.search(node.value)
    ]
    assert foreign == []
