"""Responses of the HTTP API and of single commands that are not in `indexd_schemas.api.output`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from indexd_schemas.api.output import OutputDocument, RoleState, RootState
from indexd_schemas.registered_lora import RegisteredLora


class ScanReport(OutputDocument):
    """What `scan` prints. With `waited` false the scan continues in the daemon."""

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


class ListedModelFile(OutputDocument):
    """A model file of the settings' folders. `kind` is what the folder is for, `description` what the file's header tells.

    `problem` says why jobs cannot use it; null where nothing speaks against it.
    """

    kind: str
    name: str
    path: str
    description: str = ""
    problem: str | None = None


class ModelList(OutputDocument):
    """What `models list --json` prints."""

    roles: list[RoleState]
    files: list[ListedModelFile] = Field(default_factory=list)


class ListedLora(OutputDocument):
    """A LoRA. `path` is null when no folder has the file, `registered` when the registry has no entry.

    `description` is what the file's header tells; `problem` says why jobs cannot use it, null where nothing speaks against it.
    """

    name: str
    path: str | None = None
    size_bytes: int | None = None
    description: str = ""
    problem: str | None = None
    registered: RegisteredLora | None = None


class LoraList(OutputDocument):
    """What `loras --json` prints."""

    registry: str
    loras: list[ListedLora]


class ReplayReport(OutputDocument):
    """What `replay` prints. `largest_difference` is over all colour values, 0 to 255; null when the sizes differ."""

    original: str
    replayed: str
    equal: bool
    same_bytes: bool
    largest_difference: int | None
    differing_pixels: int | None


class BackupInfo(OutputDocument):
    """A backup. `rows` counts the annotations and the job ledger by table; it is empty for an older backup."""

    path: str
    byte_count: int
    at: float
    rows: dict[str, int] = Field(default_factory=dict)


class BackupList(OutputDocument):
    """What `backup --list --json` prints, newest first."""

    backups: list[BackupInfo]


class RestoreReport(OutputDocument):
    """What `restore` prints; `set_aside` is the new path of the index that was replaced."""

    index: str
    backup: str
    set_aside: str | None


class MadeControlMap(OutputDocument):
    """What `control` prints: the path of the control map, and the method that made it ("" = the image itself is the map)."""

    path: str
    type: str
    method: str
    width: int
    height: int
    cached: bool
    seconds: float


class ReparseReport(OutputDocument):
    """The result of one slice of `reparse`. `last_id` is null when nothing was left; `left` counts the remaining images."""

    read: int
    changed: int
    last_id: int | None
    left: int


class Health(OutputDocument):
    """The response of `GET /health`: the HTTP server runs."""

    alive: bool = True


class Readiness(OutputDocument):
    """The response of `GET /ready`. Ready: the index answers, every online folder was scanned, and no thread is stuck."""

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
