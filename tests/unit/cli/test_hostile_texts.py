"""Texts of strangers (prompts, file names, tags, job names) never command the terminal, whatever command prints them."""

from __future__ import annotations

import ast
import dataclasses
import json
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import indexd.cli
from indexd.api.image_bytes import ImageBytes
from indexd.api.operations.registry import all_operations
from indexd.cli.support.printing import print_json_text
from indexd.config import read_config
from indexd.errors import IndexdError
from indexd_schemas.api.annotations import AnnotationPage, LocatedRecord
from tests.unit.api.scripted_operations import ScriptedOperations
from tests.unit.cli.conftest import Indexd
from tests.unit.cli.test_daemon_commands import RECIPE, picture
from tests.unit.cli.test_frozen_daemon import ARGUMENTS

HOSTILE = "evil\x1b]0;owned\x07\x9b2J\u202egnp\r\nFORGED a line\x7f\x85\u2066"
COMMANDS_THAT_SET_SIGNS = "\x1b\x07\r\x7f\x85\x9b\u202e\u2066"
# Their output is a file format: exact, and cleaned on a terminal only.
EXACT = {"metrics"}


def hostile(annotation: Any) -> Any:
    """A value of this type in which every text is hostile."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return hostile(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return hostile(next(one for one in arguments if one is not type(None)))
    if origin is Literal:
        return arguments[0]
    if origin is tuple and Ellipsis not in arguments:
        return tuple(map(hostile, arguments))
    if origin in (list, tuple):
        return [hostile(arguments[0])]
    if origin is dict:
        return {hostile(arguments[0]): hostile(arguments[1])}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_construct(
            **{name: hostile(one.annotation) for name, one in annotation.model_fields.items()}
        )
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        return annotation(**{one.name: hostile(hints[one.name]) for one in dataclasses.fields(annotation)})
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return next(iter(annotation))
    return {str: HOSTILE, int: 1, float: 1.0, bool: True, bytes: b"x"}.get(annotation, HOSTILE)


class HostileOperations(ScriptedOperations):
    """Answers with documents in which every text is hostile."""

    def __init__(self) -> None:
        super().__init__()
        self.responses = {}
        for operation in all_operations():
            if isinstance(operation.response_type, type) and issubclass(operation.response_type, BaseModel):
                self.responses[operation.name] = hostile(operation.response_type)
        self.responses["metrics"] = HOSTILE
        self.responses["original"] = ImageBytes(b"bytes", "image/png", HOSTILE)
        for name in ("show_job", "submit", "cancel_job", "retry_job"):
            self.responses[name].job.state = "failed"  # type: ignore[attr-defined]
        self.responses["reparse"].last_id = None  # type: ignore[attr-defined]
        self.responses["export_annotations"] = AnnotationPage(records=[hostile(LocatedRecord)])
        self.responses["cluster"].state = "done"  # type: ignore[attr-defined]


@pytest.fixture
def hostile_daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileOperations]:
    operations = HostileOperations()
    monkeypatch.setattr("indexd.api.connect.connect", lambda *_args, **_options: operations)
    monkeypatch.setattr("indexd.api.connect.find_daemon", lambda _config: operations)
    yield operations


def _arguments(command: list[str], tmp_path: Path) -> list[str]:
    job, annotations = tmp_path / "job.yaml", tmp_path / "annotations.jsonl"
    job.write_text("kind: txt2img\nprompt: x\n", "utf-8")
    annotations.write_text('{"hash": "' + "00" * 32 + '", "rating": 5}\n', "utf-8")
    image = picture(tmp_path / "image.png", RECIPE, "red")
    files = {"JOB": job, "ANNOTATIONS": annotations, "IMAGE": image, "OUT": tmp_path / "out.jsonl"}
    return [str(files.get(one, one)) for one in command]


def _assert_clean(text: str) -> None:
    assert not set(text) & set(COMMANDS_THAT_SET_SIGNS), repr(text)
    assert not any(line.startswith("FORGED") for line in text.splitlines()), text


VARIANTS = [
    *([name, *arguments] for name, variants in ARGUMENTS.items() for arguments in variants),
    *(["show", "1", "--raw"], ["query", "--explain", "--text", "x"], ["jobs", "show", "1", "--source"], ["note", "1"]),
    *(["forget", "--dry-run"], ["tag", "1", "+x", "--json"], ["characters", "undo", "--list"], ["status", "--json"]),
]


@pytest.mark.usefixtures("hostile_daemon")
@pytest.mark.parametrize(
    "command", [one for one in VARIANTS if one[0] not in EXACT and one[:2] != ["models", "verify"]], ids=" ".join
)
def test_no_command_prints_control_characters_of_others(command: list[str], indexd: Indexd, tmp_path: Path) -> None:
    ran = indexd(*_arguments(command, tmp_path))
    printed = ran.out + ran.err
    assert "Traceback" not in printed
    if "--raw" in command or "--source" in command or command == ["note", "1"]:
        printed = printed.replace("\nFORGED", "\n FORGED")  # texts of several lines are printed as they are
    _assert_clean(printed)


@pytest.mark.usefixtures("hostile_daemon")
@pytest.mark.parametrize("command", [["show", "1"], ["query"], ["jobs", "list"], ["status"], ["stats"], ["duplicates"]])
def test_json_is_exact_and_clean(command: list[str], indexd: Indexd) -> None:
    ran = indexd(*command, "--json")
    _assert_clean(ran.out)
    assert HOSTILE in json.dumps(json.loads(ran.out), ensure_ascii=False).encode().decode(
        "unicode_escape", "replace"
    ) or (HOSTILE in _texts(json.loads(ran.out)))


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, one in value.items() for text in (key, *_texts(one))]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("name", ["jobs", "show", "query", "tag"])
def test_errors_of_the_daemon_are_clean(
    name: str, indexd: Indexd, hostile_daemon: HostileOperations, tmp_path: Path
) -> None:
    hostile_daemon.error = IndexdError(HOSTILE)
    ran = indexd(*_arguments([name, *ARGUMENTS[name][0]], tmp_path))
    assert ran.code == 1
    assert not set(ran.err) & set(COMMANDS_THAT_SET_SIGNS)


def test_what_the_person_typed_is_clean_too(indexd: Indexd) -> None:
    for arguments in (["show", HOSTILE], [HOSTILE], ["query", HOSTILE], ["submit", HOSTILE], ["rate", "1", HOSTILE]):
        _assert_clean(indexd(*arguments).err)


def test_local_commands_clean_the_names_of_files_and_folders(indexd: Indexd, home: Path) -> None:
    (home / "indexd.toml").write_text(f"[[roots]]\npath = {json.dumps(str(home / HOSTILE))}\n", "utf-8")
    (home / "inbox" / HOSTILE).mkdir(parents=True)
    (home / "inbox" / HOSTILE / "job.yaml").write_text("kind: txt2img\n", "utf-8")
    models = Path(read_config(home).paths.home) / "loras"
    models.mkdir(exist_ok=True)
    (models / f"{HOSTILE}.safetensors").write_bytes(b"no tensors")
    for command in (
        ["doctor"],
        ["loras"],
        ["models", "list"],
        ["config", "validate"],
        ["status"],
        ["backup", "--list"],
    ):
        ran = indexd(*command)
        _assert_clean(ran.out + ran.err)


def test_escaped_json_is_the_same_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_json_text(json.dumps({HOSTILE: HOSTILE}, ensure_ascii=False))
    printed = capsys.readouterr().out
    _assert_clean(printed)
    assert json.loads(printed) == {HOSTILE: HOSTILE}


def test_only_one_module_of_the_command_line_writes() -> None:
    """Whoever prints in another way would have to think of control characters."""
    folder = Path(indexd.cli.__path__[0])
    found = []
    for file in folder.rglob("*.py"):
        if file.name == "printing.py":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in ("print", "click.echo", "click.secho", "click.style", "echo", "Console") or called.endswith(
                (".add_row", "stdout.write", "stderr.write", ".show")
            ):
                found.append(f"{file.relative_to(folder)}:{node.lineno}: {called}")
    assert found == []
