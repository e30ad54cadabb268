"""The text of a job file: its keys as JSON, one a line, which is YAML as well."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

# JSON is YAML, but for signs that JSON takes as they are and YAML does not.
_UNSAFE_IN_YAML = re.compile("[\x7f-\x84\x86-\x9f\u0085\u2028\u2029\ufeff\ufffe\uffff]")
_MAX_COMMENT_CHARACTERS = 300


def json_in_yaml(value: Any, indent: int | None = None) -> str:
    """A value as JSON that is YAML as well."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNSAFE_IN_YAML.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)


@dataclass(slots=True)
class JobFile:
    """The keys of a job, in order, and `remarks` on what could not be taken over.

    `origin` holds what the recipe of an image says of the template that its prompts came from; no key of a job states that.
    """

    keys: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)

    def render(self, heading: str) -> str:
        """The file: the heading and the remarks as comments, then one key a line."""
        lines = [_comment(heading)]
        if self.remarks:
            lines += ["# What could not be taken over as it was:", *(_comment(f"  {one}") for one in self.remarks)]
        for key, value in self.keys.items():
            if key == "loras" and value:
                lines += ["loras:", *(f"  - {json_in_yaml(one)}" for one in value)]
            else:
                lines.append(f"{key}: {json_in_yaml(value)}")
        return "\n".join(lines) + "\n"


def strip_invalid_characters(text: str) -> str:
    """The text without what no job file may hold: NUL and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _comment(text: str) -> str:
    line = "".join(sign if sign.isprintable() else " " for sign in strip_invalid_characters(text))
    cut = line if len(line) <= _MAX_COMMENT_CHARACTERS else line[: _MAX_COMMENT_CHARACTERS - 1] + "…"
    return _UNSAFE_IN_YAML.sub("?", f"# {cut}".rstrip())
