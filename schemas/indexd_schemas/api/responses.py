"""Responses of the HTTP API and of single commands that are not in `output.py`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from indexd_schemas.api.output import OutputDocument, RoleState, RootState
from indexd_schemas.registered_lora import RegisteredLora


class ScanReport(OutputDocument):
    """What `scan` reports. `waited` false: the scan goes on in the daemon."""

    waited: bool
    seconds: float
    images: int
    files: int
    missing_files: int
    roots: list[RootState] = Field(default_factory=list)


class VerifiedModel(OutputDocument):
    """What `models verify` prints for one role."""

    role: str
    ok: bool
    detail: str
    identity: str | None = None
    seconds: float


class VerifiedModels(OutputDocument):
    """What `models verify --json` prints."""

    models: list[VerifiedModel]


class ModelList(OutputDocument):
    """What `models list --json` prints."""

    roles: list[RoleState]


class ListedLora(OutputDocument):
    """One LoRA: its file (None = registered, and not in the folders) and what the registry says (None = not registered)."""

    name: str
    path: str | None = None
    size_bytes: int | None = None
    registered: RegisteredLora | None = None


class LoraList(OutputDocument):
    """What `loras --json` prints."""

    registry: str
    loras: list[ListedLora]


class ReplayReport(OutputDocument):
    """What `replay` prints: `largest_difference` is over all colour values, 0 to 255; None when the sizes differ."""

    original: str
    replayed: str
    equal: bool
    same_bytes: bool
    largest_difference: int | None
    differing_pixels: int | None


class BackupInfo(OutputDocument):
    """One backup; `rows` counts what people entered and the job ledger, by table, where it was just made."""

    path: str
    byte_count: int
    at: float
    rows: dict[str, int] = Field(default_factory=dict)


class BackupList(OutputDocument):
    """What `backup --list --json` prints, newest first."""

    backups: list[BackupInfo]


class RestoreReport(OutputDocument):
    """What `restore` prints; `set_aside` is where the index lies that was there before."""

    index: str
    backup: str
    set_aside: str | None


class MadeControlMap(OutputDocument):
    """What `control` prints: where the map lies, and what made it ("" = it is the picture itself)."""

    path: str
    type: str
    method: str
    width: int
    height: int
    cached: bool
    seconds: float


class ReparseReport(OutputDocument):
    """What one slice of `reparse` did: `last_id` None = nothing was left to do; `left` is what still is."""

    read: int
    changed: int
    last_id: int | None
    left: int


class Health(OutputDocument):
    """The response of `GET /health`: the process and its HTTP server run."""

    alive: bool = True


class Readiness(OutputDocument):
    """The response of `GET /ready`: the index answers, every online folder was scanned once, all queues move."""

    ready: bool
    reasons: list[str] = Field(default_factory=list)


class ChangeEvent(OutputDocument):
    """One event of `GET /v1/events`: the ids of images or jobs that changed.

    `status.changed` has the text that the daemon recorded instead. `reset`: events were missed, so read everything again.
    """

    kind: Literal[
        "image.added",
        "image.changed",
        "image.removed",
        "annotation.changed",
        "job.changed",
        "status.changed",
        "reset",
    ]
    ids: list[int] = Field(default_factory=list)
    text: str | None = None


class ErrorResponse(OutputDocument):
    """The response to a failed request: `kind` is the name of the error's class."""

    kind: str
    text: str
