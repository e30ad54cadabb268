"""Docstrings: a name in backticks exists in the code, so a rename cannot leave the old name behind."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.paths import REPOSITORY

TREES = ("indexd", "handlers", "schemas", "toyworld")
_QUOTED_NAME = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)(?:\(\))?`(?!`)")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_LOOKS_LIKE_CODE = re.compile(r"[._]|[a-z][A-Z]")

# Names of other programs, and examples of names.
FOREIGN_NAMES = frozenset(
    {
        "WatchdogSec",  # systemd
        "_a1111",  # the ending of the names of schedules
        "from_pipe",  # diffusers
        "timeout_keep_alive",  # uvicorn
        "x.job12.yaml",
    }
)
# Plain words in docstrings of classes with fields that name no field: values and keys.
PLAIN_WORDS = frozenset(
    {
        ("Artifact", "seconds"),
        ("DashArgumentCommand", "h"),
        ("ServiceStatus", "install"),
        ("VerifyModelRequest", "bge"),
        ("RootState", "native"),
        ("RootState", "poll"),
        ("TextsParsed", "raw"),
        ("SearchHit", "explain"),
    }
)


@dataclass(frozen=True)
class ModuleNames:
    """The words of the code of a module, and its docstrings with the class, function or module that they describe."""

    words: frozenset[str]
    docstrings: tuple[tuple[ast.AST, str], ...]


@cache
def _modules() -> dict[Path, ModuleNames]:
    return {path: _read(ast.parse(path.read_text("utf-8"))) for tree in TREES for path in _python_files(tree)}


def _python_files(tree: str) -> Iterator[Path]:
    return (REPOSITORY / tree).rglob("*.py")


def _read(tree: ast.Module) -> ModuleNames:
    docstrings: dict[ast.Constant, ast.AST] = {}
    words: set[str] = set()
    for node in ast.walk(tree):  # a definition comes before its docstring
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                docstrings[first.value] = node
        elif isinstance(node, ast.Constant) and node not in docstrings and isinstance(node.value, (str, bytes)):
            words.update(
                _IDENTIFIER.findall(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
            )
        for field in ("id", "attr", "arg", "name", "module", "asname"):
            if isinstance(value := getattr(node, field, None), str):
                words.update(_IDENTIFIER.findall(value))
    return ModuleNames(frozenset(words), tuple((node, text.value) for text, node in docstrings.items()))  # type: ignore[misc]


@cache
def _all_words() -> frozenset[str]:
    words = set(dir(builtins)).union(*(module.words for module in _modules().values()))
    for path in (*_modules(), *(REPOSITORY / "tests").rglob("*.py")):
        words.update(_IDENTIFIER.findall(str(path.relative_to(REPOSITORY))))
    for path in (REPOSITORY / "indexd").rglob("*.sql"):
        words.update(_IDENTIFIER.findall(path.read_text("utf-8")))
    return frozenset(words)


def _describe(path: Path, node: ast.AST, name: str) -> str:
    return f"{path.relative_to(REPOSITORY)}: {getattr(node, 'name', 'module')}: `{name}`"


def test_names_that_look_like_code_exist() -> None:
    stale, checked = [], 0
    for path, module in _modules().items():
        for node, text in module.docstrings:
            for name in filter(_LOOKS_LIKE_CODE.search, _QUOTED_NAME.findall(text)):
                checked += 1
                if name not in FOREIGN_NAMES and not _all_words().issuperset(_IDENTIFIER.findall(name)):
                    stale.append(_describe(path, node, name))
    assert checked > 200
    assert not stale, "\n".join(stale)


def test_plain_names_in_docstrings_of_records_exist_in_their_module() -> None:
    commands = {path.stem.strip("_") for path in _python_files("indexd/cli/commands")}
    stale, checked = [], 0
    for path, module in _modules().items():
        for node, text in module.docstrings:
            if not isinstance(node, ast.ClassDef) or not any(isinstance(part, ast.AnnAssign) for part in node.body):
                continue
            for name in _QUOTED_NAME.findall(text):
                if _LOOKS_LIKE_CODE.search(name):
                    continue
                checked += 1
                known = _all_words() if name[0].isupper() else module.words | commands
                if name not in known and (node.name, name) not in PLAIN_WORDS:
                    stale.append(_describe(path, node, name))
    assert checked > 100
    assert not stale, "\n".join(stale)
