"""Finds texts of a YAML file that YAML reads as something else, and writes their lines out in quotes."""

from __future__ import annotations

import re

MAX_SHOWN_CHARACTERS = 200
SPECIAL_SIGNS = frozenset("[{\"'@%|>-?`*&!")
"""Signs with which a plain YAML text cannot begin."""

_ENTRY = re.compile(r"(?P<before>\s*(?:-\s+)?(?:[\w-]+\s*:\s+)?)(?P<value>\S.*?)\s*")
_SPECIAL_BLANKS = re.compile("[\u00a0\u2007\u202f\u3000]")
_BEFORE_VALUE = re.compile(r"\s*(?:-\s+)?(?:[\w-]+\s*:\s*)?")
_SINGLE_BACKSLASH = re.compile(r"(?<!\\)(?:\\\\)*\\(?!\\)")
_WINDOWS_PATH = re.compile(r'"(?:[A-Za-z]:\\|\\\\)')


def quoted_line(line: str) -> str | None:
    """The line with its value in single quotes, as a person should write it; None where there is no value to quote."""
    entry = _ENTRY.fullmatch(line)
    if entry is None or not entry["before"].strip():
        return None
    value = entry["value"]
    if value[0] in "\"'" and value[0] not in value[1:-1]:
        value = value[1:].removesuffix(value[0])
    quoted = "'" + value.replace("'", "''") + "'"
    return f"{entry['before'].strip()} {quoted}"[:MAX_SHOWN_CHARACTERS]


def first_sign(line: str) -> str:
    """The first sign of the value on a line; "" where there is none."""
    entry = _ENTRY.fullmatch(line)
    return "" if entry is None or not entry["before"].strip() else entry["value"][0]


def quoting_advice(line: str) -> str:
    """The end of a sentence: how to write the line in quotes."""
    quoted = quoted_line(line)
    return "put the text in quotes" if quoted is None else f"put the text in quotes like this: {quoted}"


def find_special_blank(line: str) -> int | None:
    """The place of a no-break or wide blank where YAML needs a plain one: in the indentation or around a key's colon."""
    before = _BEFORE_VALUE.match(line)
    blank = None if before is None else _SPECIAL_BLANKS.search(before[0])
    return None if blank is None else blank.start()


def with_plain_blanks(line: str) -> str:
    """The line with plain blanks, as a person should write it."""
    return _SPECIAL_BLANKS.sub(" ", line).strip()[:MAX_SHOWN_CHARACTERS]


def is_windows_path(line: str) -> bool:
    """Whether the value is a Windows path in double quotes with single backslashes, which YAML reads as escapes."""
    entry = _ENTRY.fullmatch(line)
    if entry is None:
        return False
    value = entry["value"]
    return _WINDOWS_PATH.match(value) is not None and _SINGLE_BACKSLASH.search(value.replace("\\\\", "")) is not None
