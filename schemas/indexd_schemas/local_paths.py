"""Paths in the settings: marked as such where they are declared, and made absolute in one place.

A relative path means the folder of the settings file: a daemon has no current folder that a person would think of.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_MARK = "a path on this machine"

LocalPath = Annotated[str, _MARK]
"""A file or a folder; `~` is understood. Empty means that none is named, where the field has a default."""

Part = TypeVar("Part", bound=BaseModel)


def located(part: Part, folder: Path, problems: list[str], where: str = "") -> Part:
    """The same settings with every LocalPath absolute; relative ones lie below `folder`.

    A sentence for every path that no system call would take is added to `problems`; `where` is put before the names.
    """
    changed: dict[str, Any] = {}
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        named = f"{where}{name}"
        if isinstance(value, BaseModel):
            changed[name] = located(value, folder, problems, f"{named}.")
        elif _MARK in field.metadata:
            changed[name] = _absolute(value, folder, problems, named) if value or field.is_required() else ""
        elif isinstance(value, tuple):
            changed[name] = tuple(
                located(one, folder, problems, f"{named}.{number}.")
                if isinstance(one, BaseModel)
                else _absolute(one, folder, problems, f"{named}.{number}")
                if _of_paths(field)
                else one
                for number, one in enumerate(value)
            )
    return part.model_copy(update=changed)


def _of_paths(field: FieldInfo) -> bool:
    return any(_MARK in getattr(argument, "__metadata__", ()) for argument in get_args(field.annotation))


def _absolute(text: str, folder: Path, problems: list[str], named: str) -> str:
    if "\0" in text:
        problems.append(f"{named}: a path cannot hold a NUL character")
    elif not text.strip():
        problems.append(f"{named}: it is empty; name the folder or the file")
    else:
        try:
            # `..` stays as it is: after a link it leads elsewhere than the text says.
            return os.path.join(folder, Path(text).expanduser())
        except RuntimeError:
            problems.append(
                f"{named}: {text!r} names a user whose home folder is not known here; write the path in full"
            )
    return text
