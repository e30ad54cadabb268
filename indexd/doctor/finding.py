"""What one look found: how it stands, the cure in words, and, where it is harmless, the cure as an action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from indexd_schemas.api.output import DoctorCheck

Fix = Callable[[], str]
"""Does the cure and says in a few words what it did. Raises OSError or IndexdError when it cannot."""


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One line of `doctor`. `fix` is only there where nothing of the user's can be lost by it."""

    check: DoctorCheck
    fix: Fix | None = None


def ok(name: str, detail: str) -> DoctorFinding:
    """Something that is well."""
    return DoctorFinding(DoctorCheck(name=name, state="ok", detail=detail))


def warning(name: str, detail: str, cure: str, fix: Fix | None = None) -> DoctorFinding:
    """Something that keeps a part from working."""
    return DoctorFinding(DoctorCheck(name=name, state="warning", detail=detail, cure=cure), fix)


def failed(name: str, detail: str, cure: str, fix: Fix | None = None) -> DoctorFinding:
    """Something that keeps the program from working."""
    return DoctorFinding(DoctorCheck(name=name, state="failed", detail=detail, cure=cure), fix)
