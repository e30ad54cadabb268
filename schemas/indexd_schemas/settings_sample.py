"""The commented settings file, generated from the settings schema: every option with description and example.

Every option is a comment with its default, so the file as written changes nothing.
"""

from __future__ import annotations

import json
import textwrap
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from indexd_schemas.settings import RootSettings, Settings

LINE_CHARACTERS = 100

# Example of `hub` for each role; the field itself has only one example.
HUB_EXAMPLES = {
    "generator": "stabilityai/stable-diffusion-xl-base-1.0",
    "bge": "BAAI/bge-large-en-v1.5",
    "clip_l": "stabilityai/stable-diffusion-xl-base-1.0",
    "clip_g": "stabilityai/stable-diffusion-xl-base-1.0",
    "clip_h": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
}

HEADER = """\
# Settings of indexd. Every option is listed with its default, as a comment. Remove the leading "# " to change one.
# Precedence: command-line flag, environment (INDEXD_WATCH__SETTLE_SECONDS=1), this file, default.
# Paths: `~` is expanded; relative paths start at the folder of this file.
# `indexd config validate` checks this file, `indexd config show` prints the effective settings.
"""


def sample_toml() -> str:
    """The complete sample. It is valid TOML, with and without the comment signs."""
    parts = [HEADER]
    for name, field in Settings.model_fields.items():
        if name == "roots":
            parts.append(_roots(field))
        elif name == "stages":
            parts.append(_comment(field.description or ""))
        else:
            parts.extend(_tables(name, field.annotation, field.description or ""))
    return "\n".join(parts)


def toml_value(value: Any) -> str:
    """A value in TOML syntax. None gives an empty string, because TOML has no null."""
    if value is None:
        return '""'
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(toml_value(one) for one in value)}]"
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    # A JSON string with escaped DEL is a TOML basic string.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def to_toml(settings: Settings) -> str:
    """The settings as a file that reproduces them. Omits unset values."""
    lines: list[str] = []
    data = settings.model_dump(mode="python")
    for root in data.pop("roots"):
        lines += ["[[roots]]", *_assignments(root), ""]
    for name, table in data.items():
        lines += _table_lines(name, table)
    return "\n".join(lines).rstrip() + "\n"


def _table_lines(name: str, table: dict[str, Any]) -> list[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"[{name}]", *_assignments(plain), ""] if plain else []
    for key, value in table.items():
        if isinstance(value, dict):
            lines += _table_lines(f"{name}.{key}", value)
    return lines


def _assignments(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {toml_value(value)}" for key, value in table.items() if value is not None]


def _tables(name: str, annotation: Any, description: str) -> list[str]:
    """A table and its sub-tables."""
    fields: dict[str, FieldInfo] = annotation.model_fields
    below = {key: field for key, field in fields.items() if _is_table(field)}
    plain = {key: field for key, field in fields.items() if key not in below}
    parts = []
    if plain:
        options = "\n".join(_option(key, field, _example(name, key, field)) for key, field in plain.items())
        parts.append(f"{_comment(description)}[{name}]\n{options}")
    for key, field in below.items():
        parts.extend(_tables(f"{name}.{key}", field.annotation, field.description or ""))
    return parts


def _roots(field: FieldInfo) -> str:
    options = "\n".join(
        _option(key, option, _example("roots", key, option)) for key, option in RootSettings.model_fields.items()
    )
    return f"{_comment(field.description or '')}# [[roots]]\n{options}"


def _example(table: str, key: str, field: FieldInfo) -> Any:
    if key == "hub":
        return HUB_EXAMPLES[table.rpartition(".")[2]]
    return field.examples[0] if field.examples else None


def _option(key: str, field: FieldInfo, example: Any) -> str:
    shown = f" Example: {toml_value(example)}" if example is not None else ""
    default = field.default
    # Required options, and those without a value in TOML, show their example.
    value = example if default is PydanticUndefined or default is None else default
    return f"{_comment(f'{field.description}{shown}', '#   ')}# {key} = {toml_value(value)}\n"


def _comment(text: str, start: str = "# ") -> str:
    flat = " ".join(text.split())
    return "".join(f"{start}{line}\n" for line in textwrap.wrap(flat, LINE_CHARACTERS, break_long_words=False))


def _is_table(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
