"""The group of commands: quick, complete, and its exit codes."""

from __future__ import annotations

import importlib.metadata
import pkgutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import indexd.cli.commands
from indexd import errors
from indexd.cli.app import COMMANDS, app, run
from tests.unit.cli.conftest import Indexd

HEAVY = (
    "pydantic",
    "numpy",
    "rich",
    "httpx",
    "starlette",
    "uvicorn",
    "apsw",
    "PIL",
    "torch",
    "huggingface_hub",
    "indexd.config",
)
# Commands of `indexd characters`, split off for length.
NO_COMMANDS = {"characters_edit"}


def test_help_imports_nothing_heavy() -> None:
    script = f"import sys, indexd.cli.app as a; a.run(['--help']); print([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_client_and_all_operations_import_neither_the_index_nor_image_libraries() -> None:
    heavy = ("numpy", "apsw", "PIL", "starlette", "uvicorn", "indexd.store", "indexd_schemas.jobs.job")
    script = f"import sys, indexd.api.connect, indexd.api.operations.registry as r; r.all_operations(); print([n for n in {heavy!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_the_table_and_the_folder_agree() -> None:
    files = {module.name for module in pkgutil.iter_modules(indexd.cli.commands.__path__)} - NO_COMMANDS
    assert files == {place.partition(":")[0] for place, _ in COMMANDS.values()}
    # `import` is a word of Python: its file has an underscore more.
    assert {name.removesuffix("_") for name in files} == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_loads_and_its_help_agrees_with_the_table(name: str) -> None:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert command.name == name
    assert command.short_help == COMMANDS[name][1]
    assert command.help


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_help_can_be_shown(indexd: Indexd, name: str) -> None:
    shown = indexd(name, "--help")
    assert shown.code == 0
    assert "Usage: indexd" in shown.out


def test_help_names_every_exit_code(indexd: Indexd) -> None:
    text = indexd("--help").out
    for name, code in vars(errors).items():
        if name.startswith("EXIT_"):
            assert f"  {code}  " in text
    for name in COMMANDS:
        assert f"  {name} " in text


def test_version(indexd: Indexd) -> None:
    assert indexd("--version").out == f"indexd {importlib.metadata.version('indexd')}\n"


def test_mistakes_in_the_command_line_are_usage(indexd: Indexd) -> None:
    near = indexd("querry")
    assert near.code == 2
    assert "did you mean query?" in near.err
    assert indexd("query", "--wrong").code == 2
    assert indexd("query", "-n", "none").code == 2
    assert indexd("query", "-n", "0").code == 2
    assert indexd("rate", "a.png", "6").code == 2
    assert indexd("jobs", "list", "--state", "lost").code == 2


def test_a_person_s_mistake_is_one_line_and_a_bug_is_a_traceback(
    indexd: Indexd, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "indexd.toml").write_text("[watch]\nsettle = 3\n", "utf-8")
    wrong = indexd("status")
    assert wrong.code == 1
    assert wrong.err.count("\n") == 1
    assert wrong.err.startswith("indexd: ")
    assert "watch.settle is no setting" in wrong.err

    def bug() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("indexd.cli.commands.status.open_operations", bug)
    with pytest.raises((ZeroDivisionError, TypeError)):
        run(["status"])


def test_the_module_runs(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "indexd", "--home", str(home), "query"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert "no index yet" in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of a shell")
def test_a_reader_that_leaves_early_is_no_error(home: Path) -> None:
    command = f"'{sys.executable}' -m indexd --home '{home}' config sample | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
