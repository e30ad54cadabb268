"""The plain records that the index takes and gives. No SQL, no connection: other rooms know the index by these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, MetadataLora, MetadataScore
from indexd.worker.calls import FoundRegion

StageInput = Literal["prompt", "negative_prompt", "image", "faces"]


@dataclass(frozen=True, slots=True)
class RootRow:
    """A watched folder. `purpose` is "images" or "jobs"; `identity` is "device:inode" as last seen.

    `stranger` is the identity of a folder that took its place, with the number of files that were known then.
    """

    id: int
    path: bytes
    purpose: str
    online: bool = True
    identity: str | None = None
    mode: str = ""
    reason: str = ""
    folder_tags: bool = False
    foreign_root: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A settled file that was read: either its facts, or the problem for which it is no picture.

    `stages` names the work that the picture still needs ("thumbnail", layer names). `layers_of_texts` names the layers by the
    text that they embed, for a picture that is known already and of which something beside it says more now.
    """

    root_id: int
    rel: bytes
    stamp: FileStamp
    facts: ImageFacts | None
    problem: str | None = None
    stages: tuple[str, ...] = ()
    layers_by_input: Mapping[StageInput, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a sighting."""

    image_id: int | None
    outcome: Literal["new", "known", "problem"]


@dataclass(frozen=True, slots=True)
class FileRow:
    """Where a content lies or lay. `missing_since` is seconds since the epoch, None while it is there."""

    id: int
    root_id: int
    rel: bytes
    path: bytes
    stamp: FileStamp
    image_id: int | None
    problem: str | None
    missing_since: float | None


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One picture by content with the columns that people ask for, and where it lies."""

    id: int
    content_hash: bytes
    byte_count: int
    format: str
    width: int
    height: int
    added_at: float
    created_at: float | None
    generator: str | None
    generator_version: str | None
    prompt: str | None
    negative_prompt: str | None
    seed: str | None
    steps: int | None
    cfg: float | None
    sampler: str | None
    schedule: str | None
    denoise: float | None
    model_name: str | None
    model_hash: str | None
    job: str | None
    is_ai: str | None
    rating: int | None
    note: str | None
    decode_problem: str | None
    parse_problem: str | None
    tags: tuple[str, ...] = ()
    loras: tuple[MetadataLora, ...] = ()
    extras: tuple[tuple[str, str], ...] = ()
    files: tuple[FileRow, ...] = ()
    folder_tags: tuple[str, ...] = ()
    scores: tuple[MetadataScore, ...] = ()


@dataclass(frozen=True, slots=True)
class AttributeRow:
    """One statement of an index stage (`source`) about an image."""

    source: str
    key: str
    value: str
    score: float | None


@dataclass(frozen=True, slots=True)
class IndexTask:
    """One piece of work taken in hand: `attempts` counts this one already."""

    image_id: int
    stage: str
    attempts: int


@dataclass(frozen=True, slots=True)
class IndexTaskRow:
    """One piece of work as `explain` shows it."""

    image_id: int
    stage: str
    state: Literal["pending", "running", "failed", "blocked"]
    attempts: int
    not_before: float
    error: str | None


@dataclass(frozen=True, slots=True)
class Revision:
    """The model revision whose vectors a layer compares; `dim` is the length of its vectors."""

    id: int
    layer: str
    identity: str
    dim: int


@dataclass(frozen=True, slots=True)
class RegionRow:
    """A face or another thing found in a picture. `id` is never given twice, and stays when it is found again."""

    id: int
    image_id: int
    region: FoundRegion


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on metadata: `key` op value(s).

    `op` is "=" (text equal without case, `*` as wildcard; numbers equal), ".." (a closed range; None = open end) or
    "has" (the key is stated at all). `negate` turns it round.
    """

    key: str
    op: Literal["=", "..", "has"]
    value: str | None = None
    low: str | None = None
    high: str | None = None
    negate: bool = False


JobState = Literal["queued", "running", "done", "failed", "cancelled"]
JobItemState = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class NewJobItem:
    """One picture to make: its index in the job, its seed, its final path, and the resolved settings as plain data."""

    index: int
    seed: int
    path: bytes
    settings: dict[str, Any]


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
    """A job in the ledger. `mirrored` is the folder that its file was last moved to ("inbox", "accepted", "done", "failed")."""

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
    """One picture of a job. `seconds` is the wall time of the attempt that made it, `report` what the worker said of it.

    `rejected` is where it goes because it is not kept; it lies there when `path` says the same.
    """

    id: int
    job_id: int
    index: int
    seed: int
    path: bytes
    settings: dict[str, Any]
    state: JobItemState
    attempts: int
    not_before: float
    error: str | None
    content_hash: bytes | None
    seconds: float | None
    report: dict[str, Any]
    rejected_path: bytes | None = None
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventRow:
    """One thing the daemon noticed, for `status`."""

    at: float
    kind: str
    text: str
    root_id: int | None
