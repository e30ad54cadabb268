"""The lines of the log: a sentence each, whatever is quoted in it; the journal's priorities; a file that rotates."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.errors import SettingsError
from indexd.logging_setup import JournalFormatter, JsonFormatter, TextFormatter, is_journal_stream, set_up_logging
from indexd_schemas.settings import LogSettings


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("indexd.jobs.service", logging.WARNING, "", 0, "refused %s", (text,), None)


@pytest.fixture
def own_handlers() -> Iterator[None]:
    """What pytest put into the root logger comes back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers[:] = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = before


def test_a_quoted_name_cannot_move_the_cursor() -> None:
    line = TextFormatter(time_format="").format(_record("\x1b[2Jx\x9b1m.yaml\nline 1: more"))
    assert line == "jobs: refused \\x1b[2Jx\\x9b1m.yaml\nline 1: more"
    assert json.loads(JsonFormatter().format(_record("\x1b[2J")))["text"] == "refused \x1b[2J"


def test_every_line_of_the_journal_has_its_priority() -> None:
    assert JournalFormatter(TextFormatter(time_format="")).format(_record("x\ny")) == "<4>jobs: refused x\n<4>y"
    line = JournalFormatter(JsonFormatter()).format(_record("x\ny"))
    assert json.loads(line.removeprefix("<4>"))["level"] == "WARNING"


def test_only_the_stream_that_leads_to_the_journal_counts(tmp_path: Path) -> None:
    with open(tmp_path / "stream", "w") as stream:
        found = os.fstat(stream.fileno())
        assert is_journal_stream(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_journal_stream(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not is_journal_stream(stream, {})
    assert not is_journal_stream(io.StringIO(), {"JOURNAL_STREAM": "1:2"})
    assert not is_journal_stream(None, {"JOURNAL_STREAM": "1:2"})


@pytest.mark.usefixtures("own_handlers")
def test_a_file_rotates_and_so_many_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "indexd.log"
    set_up_logging(LogSettings(file_mib=1, file_keep=2), file=file)
    for number in range(5):
        logging.getLogger("indexd.watch").warning("%d %s", number, "x" * 900_000)
    assert sorted(path.name for path in file.parent.iterdir()) == ["indexd.log", "indexd.log.1", "indexd.log.2"]
    assert file.read_text().split()[4] == "4"


@pytest.mark.usefixtures("own_handlers")
def test_a_process_without_stderr_writes_to_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    set_up_logging(LogSettings(format="json"), file=tmp_path / "indexd.log")
    logging.getLogger("indexd.watch").info("here")
    assert json.loads((tmp_path / "indexd.log").read_text())["text"] == "here"


@pytest.mark.usefixtures("own_handlers")
def test_a_file_that_cannot_be_opened_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot be opened.*\[log\] file"):
        set_up_logging(LogSettings(), file=tmp_path / "file" / "indexd.log")
