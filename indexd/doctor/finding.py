"""The result of one check, with a function that fixes the problem if that is harmless."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from indexd_schemas.api.output import DoctorCheck

Fix = Callable[[], str]
"""Applies the fix and returns a short description. Raises OSError or IndexdError when it fails."""


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """The result of a check. `fix` is set only if it cannot destroy user data."""

    check: DoctorCheck
    fix: Fix | None = None


def ok(name: str, detail: str) -> DoctorFinding:
    return DoctorFinding(DoctorCheck(name=name, state="ok", detail=detail))


def warning(name: str, detail: str, advice: str, fix: Fix | None = None) -> DoctorFinding:
    """A part of indexd does not work."""
    return DoctorFinding(DoctorCheck(name=name, state="warning", detail=detail, advice=advice), fix)


def failed(name: str, detail: str, advice: str, fix: Fix | None = None) -> DoctorFinding:
    """indexd does not work."""
    return DoctorFinding(DoctorCheck(name=name, state="failed", detail=detail, advice=advice), fix)
