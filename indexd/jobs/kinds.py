"""A job kind: what its job files say, what its items are, which call makes one, and what becomes of the result.

A class decorated with `@job_kind` is the whole declaration. An item may be any file, and its call may take hours: the
serving function reports progress by `session.progress` and calls `session.poll`, which also serves a person who waits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from indexd.registry import job_kinds
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.calls import AnyCall
from indexd_schemas.jobs.job import JobBase

if TYPE_CHECKING:
    from indexd.jobs.admission.planner import JobPlanner
    from indexd.model_files import ModelCatalogue

JobT = TypeVar("JobT", bound=JobBase)
KindT = TypeVar("KindT", bound="type[JobKind[Any]]")


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """One item of a job. `settings` is JSON, stored with the item: `call` builds the call from it, after any restart.

    `name_values` are the values of placeholders in the name of its file; `notes` are sentences for the person. `suffix`
    ends the name of its file; None = that of the kind. The sheet of a series has the name of the job and waits for the others.
    """

    settings: Mapping[str, Any]
    seed: int = 0
    name_values: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    suffix: str | None = None
    is_sheet: bool = False


@dataclass(frozen=True, slots=True)
class ItemCall:
    """The call that makes an item, and the model files that it needs."""

    call: AnyCall
    models: tuple[Path, ...] = ()

    def missing_model(self) -> Path | None:
        """The first model file that is gone."""
        return next((path for path in self.models if not path.exists()), None)


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a call made: the bytes of a file, or the path of one that the worker wrote and that is moved into its place.

    `report` is JSON, kept with the item: `seconds` by stage and `notes`.
    """

    content: bytes | Path
    report: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def byte_count(self) -> int:
        """The size of the file."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


class ItemMaker(ABC):
    """How items are made. `silence_seconds` is how long a call may report no progress before its worker is ended; None = as
    long as it takes.
    """

    silence_seconds: ClassVar[float | None] = 900.0

    @abstractmethod
    def call(self, job: JobRow, item: JobItemRow, catalogue: ModelCatalogue) -> ItemCall:
        """The call of an item. Raises ModelUnavailable or InputImageGone where a file that it needs is gone."""

    @abstractmethod
    def artifact(self, result: Any) -> Artifact:
        """What the result of the call becomes."""


class JobKind(ItemMaker, Generic[JobT]):
    """One kind of job by `name`, the value of `kind` in a job file; `suffix` ends the name of each artifact."""

    name: ClassVar[str]
    schema: type[JobT]
    suffix: ClassVar[str] = ".png"

    @abstractmethod
    def plan(self, job: JobT, planner: JobPlanner) -> Sequence[PlannedItem]:
        """The items of a job. Reads files and writes nothing. Raises FieldError for what the job asks wrongly."""

    def record(self, item: JobItemRow) -> dict[str, Any]:
        """What `x.result.json` records of how an item was made."""
        return dict(item.settings)


def job_kind(kind: KindT) -> KindT:
    """Class decorator: registers a kind. Raises AlreadyRegistered where another class has its name."""
    job_kinds.register(kind.name)(kind())
    return kind


def find_kind(name: str) -> JobKind[Any]:
    """The kind of a job in the ledger. Raises LookupError where its package is not installed any more."""
    kind = job_kinds.get(name)
    if kind is None:
        raise LookupError(
            f"there is no job kind {name!r} any more; install the package that brings it, or cancel the job"
        )
    found: JobKind[Any] = kind
    return found
