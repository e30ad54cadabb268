"""What one look found: how it stands, the cure in words, and, where it is harmless, the cure as an action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from indexd_schemas.output import Check

Fix = Callable[[], str]
"""Does the cure and says in a few words what it did. Raises OSError or IndexdError when it cannot."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`. `fix` is only there where nothing of the user's can be lost by it."""

    check: Check
    fix: Fix | None = None


def ok(name: str, detail: str) -> Finding:
    """Something that is well."""
    return Finding(Check(name=name, state="ok", detail=detail))


def warning(name: str, detail: str, cure: str, fix: Fix | None = None) -> Finding:
    """Something that keeps a part from working."""
    return Finding(Check(name=name, state="warning", detail=detail, cure=cure), fix)


def failed(name: str, detail: str, cure: str, fix: Fix | None = None) -> Finding:
    """Something that keeps the program from working."""
    return Finding(Check(name=name, state="failed", detail=detail, cure=cure), fix)
