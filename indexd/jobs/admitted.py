"""What became of a file of the inbox."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from indexd.store.records import JobRow


@dataclass(frozen=True, slots=True)
class Admitted:
    """The file is a job in the ledger now (or was already, when the same file was seen before)."""

    job: JobRow


@dataclass(frozen=True, slots=True)
class Declined:
    """The file was moved to `failed/` with the reason beside it."""

    reason: str
    path: Path


@dataclass(frozen=True, slots=True)
class Ignored:
    """The file is no job file: another ending, or not at the top of the inbox, or gone."""
