"""Paths in the settings: marked by type at the field, made absolute in one place.

A relative path starts at the folder of the settings file, because a daemon has no meaningful current folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_PATH_MARKER = "a path on this machine"

LocalPath = Annotated[str, _PATH_MARKER]
"""A file or folder; `~` is expanded. Empty = none, if the field has a default."""

SettingsPart = TypeVar("SettingsPart", bound=BaseModel)


def resolve_paths(part: SettingsPart, folder: Path, problems: list[str], where: str = "") -> SettingsPart:
    """The settings with absolute paths; relative ones start at `folder`.

    Appends an error to `problems` for every path that no system call accepts; `where` precedes the field names.
    """
    changed: dict[str, Any] = {}
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        named = f"{where}{name}"
        if isinstance(value, BaseModel):
            changed[name] = resolve_paths(value, folder, problems, f"{named}.")
        elif _PATH_MARKER in field.metadata:
            changed[name] = _make_absolute(value, folder, problems, named) if value or field.is_required() else ""
        elif isinstance(value, tuple):
            changed[name] = tuple(
                resolve_paths(one, folder, problems, f"{named}.{number}.")
                if isinstance(one, BaseModel)
                else _make_absolute(one, folder, problems, f"{named}.{number}")
                if _holds_paths(field)
                else one
                for number, one in enumerate(value)
            )
    return part.model_copy(update=changed)


def _holds_paths(field: FieldInfo) -> bool:
    return any(_PATH_MARKER in getattr(argument, "__metadata__", ()) for argument in get_args(field.annotation))


def _make_absolute(text: str, folder: Path, problems: list[str], named: str) -> str:
    if "\0" in text:
        problems.append(f"{named}: a path cannot hold a NUL character")
    elif not text.strip():
        problems.append(f"{named}: it is empty; name the folder or the file")
    else:
        try:
            # Keep `..`: after a symbolic link it does not lead where the text suggests.
            return os.path.join(folder, Path(text).expanduser())
        except RuntimeError:
            problems.append(
                f"{named}: {text!r} names a user whose home folder is not known here; write the path in full"
            )
    return text
