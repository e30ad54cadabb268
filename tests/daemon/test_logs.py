"""The lines of the log: a sentence each, whatever is quoted in it."""

from __future__ import annotations

import json
import logging

from indexd.logs import JsonLines, Sentences


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("indexd.jobs.facade", logging.WARNING, "", 0, "refused %s", (text,), None)


def test_a_quoted_name_cannot_move_the_cursor() -> None:
    line = Sentences(journal=True).format(_record("\x1b[2Jx\x9b1m.yaml\nline 1: more"))
    assert line == "<4>jobs: refused \\x1b[2Jx\\x9b1m.yaml\nline 1: more"
    assert json.loads(JsonLines().format(_record("\x1b[2J")))["text"] == "refused \x1b[2J"
