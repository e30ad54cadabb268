"""Admission's verdict on a model file, for the worker: a file may have changed since, and a replay passes no admission."""

from __future__ import annotations

from pathlib import Path

from indexd.errors import RenderFailed
from indexd.generate.context import FILE_NOUNS
from indexd.model_headers.inspect_file import describe_model
from indexd.model_headers.verdict import find_unusable_reason
from indexd_schemas.recipe_part import FileKind


def raise_if_unusable(kind: FileKind, name: str, path: Path, *, pickle_allowed: bool) -> None:
    """Raises RenderFailed with what the header of the file tells against it, or with why it cannot be read."""
    try:
        reason = find_unusable_reason(kind, describe_model(path), pickles_allowed=pickle_allowed)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    if reason is not None:
        raise RenderFailed(f"{FILE_NOUNS[kind]} {name} {reason}")
