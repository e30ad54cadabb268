"""Records of the job ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from indexd_schemas.job_state import JobState


@dataclass(frozen=True, slots=True)
class NewJobItem:
    """A job item: its index in the job, its seed, its output path, and the resolved settings as plain data.

    One that `is_last` waits until every other item of the job has ended.
    """

    index: int
    seed: int
    path: bytes
    settings: dict[str, Any]
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that passed every check. `admission_key` names the inbox file and its content, so that admitting twice is once."""

    name: str
    kind: str
    source: bytes
    admission_key: str
    inbox_name: str | None
    priority: int
    items: tuple[NewJobItem, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job in the ledger. `file_location` is the folder that its file was last moved to ("inbox", "accepted", "done", "failed")."""

    id: int
    name: str
    kind: str
    source: bytes
    inbox_name: str | None
    state: JobState
    error: str | None
    priority: int
    file_location: str
    created_at: float
    finished_at: float | None
    item_counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobItemRow:
    """One job item. `seconds` is the wall time of the successful attempt, `report` the report of the worker.

    `content_hash` of an item that is not done is that of a file that was about to be published.
    `rejected_path` is where a rejected output is moved; it is there when `path` is equal.
    """

    id: int
    job_id: int
    index: int
    seed: int
    path: bytes
    settings: dict[str, Any]
    state: JobState
    attempts: int
    not_before: float
    error: str | None
    content_hash: bytes | None
    seconds: float | None
    report: dict[str, Any]
    rejected_path: bytes | None = None
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemOutput:
    """The file of a job item: where it lies or is about to, blake3 of its content, and how it was made.

    `seconds` is the wall time of the attempt, `report` what the worker said of it.
    """

    path: bytes
    content_hash: bytes
    seconds: float
    report: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


JobFileLocation = Literal["inbox", "accepted", "done", "failed"]
