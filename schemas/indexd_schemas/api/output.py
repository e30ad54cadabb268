"""The JSON that indexd prints and serves. Every document has `schema_version`; within a version no field is renamed.

Times are seconds since the epoch, hashes are hex. Paths are text: bytes that are not valid UTF-8 are replaced, and
`path_quoted` then holds the path percent-encoded.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from indexd.image_metadata.model import GenerationDetails, MetadataLora
from indexd_schemas.contract import Contract

SCHEMA_VERSION = 1


class OutputDocument(Contract):
    """Base of every JSON document."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1


class ImageFile(Contract):
    """A file of an image; `missing_since` is null while the file exists."""

    path: str
    path_quoted: str | None = None
    size: int
    modified_at: float
    missing_since: float | None = None


class PendingTask(Contract):
    """An index task of an image that is not done."""

    stage: str
    state: str
    attempts: int
    error: str | None = None
    waits_for: str | None = None


class ImageSummary(Contract):
    """An image with its annotations and the most important generation settings.

    `path` is null when the image has no file any more; `last_path` then says where one lay until `missing_since`. With
    `is_overwritten`, another image lies there now.
    """

    id: int
    hash: str
    path: str | None
    path_quoted: str | None = None
    last_path: str | None = None
    missing_since: float | None = None
    is_overwritten: bool = False
    format: str
    width: int
    height: int
    added_at: float
    created_at: float | None = None
    created_from: str | None = None
    generator: str | None = None
    generator_version: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    seed: str | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    denoise: float | None = None
    model: str | None = None
    model_hash: str | None = None
    loras: list[MetadataLora] = Field(default_factory=list)
    scores: dict[str, float] = Field(default_factory=dict)
    rating: int | None = None
    tags: list[str] = Field(default_factory=list)
    folder_tags: list[str] = Field(default_factory=list)
    note: str | None = None
    job: str | None = None
    is_ai: str | None = None
    problem: str | None = None


class ImageRegion(Contract):
    """A face or another region that a detector found.

    The box is in shares, 0 to 1, of the upright image. `size_px` is its shorter side, `quality` is 0 to 1. The id stays
    the same when the detector finds the region again. `character` is null when the face is assigned to nobody.
    """

    id: int
    kind: str
    left: float
    top: float
    width: float
    height: float
    confidence: float
    size_px: int
    sharpness: float
    quality: float
    detector: str
    character: int | None = None
    character_name: str | None = None


class StatedAttribute(Contract):
    """A caption, a tag or a score of an image, from an index stage (`source`). `score` is the confidence of the model."""

    source: str
    key: str
    value: str
    score: float | None = None


class ScoreContribution(Contract):
    """What one term adds to the score of a hit.

    `term` is written as on the command line. `raw` is the cosine or bm25 score in `layer`, null when the image has no
    vector there or does not match; `z` is that score after calibration.
    """

    term: str
    layer: str
    weight: float
    raw: float | None = None
    z: float


class TextMatch(Contract):
    """Where the words of a term or filter stand in a text of the image.

    `text` is an excerpt of the column, which begins there at the character `start`. `spans` are the start and the end of
    each match within `text`. All of them count Unicode code points.
    """

    term: str
    column: Literal["prompt", "negative", "raw_prompt", "tags", "captions", "file_name"]
    text: str
    start: int
    spans: list[tuple[int, int]]


class SearchHit(Contract):
    """One image that was found.

    `score` is the fused score that ranks the hits. `scores` has the raw score (cosine or bm25) of each layer compared.
    `parts` lists the contribution of each term when the request has `explain`. `matches` has the words that were found.
    """

    rank: int
    score: float | None = None
    scores: dict[str, float] = Field(default_factory=dict)
    parts: list[ScoreContribution] | None = None
    matches: list[TextMatch] = Field(default_factory=list)
    image: ImageSummary


class SearchResults(OutputDocument):
    """What `indexd query --json` prints. `notes` name the terms that could not be used, with the reason.

    `cutoff` is the lowest score of a hit (null = no cut-off). `cut_off_count` counts the images among the best that only
    the cut-off excludes.
    """

    hits: list[SearchHit]
    candidate_count: int
    seconds: float
    cutoff: float | None = None
    cut_off_count: int = 0
    notes: list[str] = Field(default_factory=list)
    next: str | None = Field(default=None, description="The cursor of the next page; null on the last one.")


class ShownImage(OutputDocument):
    """What `indexd show --json` prints. `notes` names data of the image that searches do not use."""

    image: ImageSummary
    notes: list[str] = Field(default_factory=list)
    files: list[ImageFile]
    index_tasks: list[PendingTask]
    regions: list[ImageRegion] = Field(default_factory=list)
    attributes: list[StatedAttribute] = Field(default_factory=list)
    generation: GenerationDetails = Field(default_factory=GenerationDetails)
    extras: dict[str, str] = Field(default_factory=dict)
    raw: dict[str, str] = Field(default_factory=dict)


class Explanation(OutputDocument):
    """What `indexd explain --json` prints: `sentences` explain the `state`."""

    path: str
    state: Literal["indexed", "pending", "skipped", "missing", "unknown", "ignored", "outside"]
    sentences: list[str]
    image_id: int | None = None
    index_tasks: list[PendingTask] = Field(default_factory=list)


class RootState(Contract):
    """A watched folder: `mode` is `native` or `poll`, and `reason` explains the mode."""

    path: str
    purpose: str
    mode: str
    reason: str
    online: bool
    pending: int = 0
    last_reconcile: float | None = None
    lost_events: int = 0


class WorkerState(Contract):
    """A worker process. `lane` is gpu, cpu, decode or cluster.

    `models` maps resident roles to seconds since their last use. `running` counts started calls, `queued` the others.
    """

    lane: str
    pid: int | None
    alive: bool
    deaths: int
    queued: int
    running: int = 0
    models: dict[str, float] = Field(default_factory=dict)


class RoleState(Contract):
    """A model role: on, or off with the reason."""

    role: str
    on: bool
    detail: str


class DaemonEvent(Contract):
    """An event that the daemon recorded."""

    at: float
    kind: str
    text: str


class DaemonStatus(OutputDocument):
    """What `indexd status --json` prints. Without a daemon `running` is false and the live parts are empty."""

    running: bool
    version: str
    pid: int | None = None
    uptime_seconds: float | None = None
    home: str
    index: str
    index_bytes: int
    images: int
    files: int
    missing_files: int
    roots: list[RootState] = Field(default_factory=list)
    pending: dict[str, dict[str, int]] = Field(default_factory=dict)
    jobs: dict[str, int] = Field(default_factory=dict)
    queue_paused: str | None = None
    unread_job_files: list[str] = Field(default_factory=list)
    workers: list[WorkerState] = Field(default_factory=list)
    roles: list[RoleState] = Field(default_factory=list)
    events: list[DaemonEvent] = Field(default_factory=list)


class ItemProgress(Contract):
    """The progress of a running item: `done` of `total` in `stage`."""

    stage: str
    done: int
    total: int


class JobItem(Contract):
    """One image of a job.

    `scores` are the scores that the job requested. `kept` is false when they were too low: the image is in `rejected/`
    then. It is null when the job keeps every image or has not ended. `notes` name what the render found or skipped, and
    which settings of a replayed image it could not use.
    """

    index: int
    seed: int
    state: str
    attempts: int
    path: str
    hash: str | None = None
    seconds: float | None = None
    error: str | None = None
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    scores: dict[str, float] = Field(default_factory=dict)
    kept: bool | None = None
    progress: ItemProgress | None = None
    notes: list[str] = Field(default_factory=list)


class JobSummary(Contract):
    """A job; `items` counts its images by state."""

    id: int
    name: str
    kind: str
    state: str
    error: str | None = None
    created_at: float
    finished_at: float | None = None
    items: dict[str, int]


class JobList(OutputDocument):
    """What `indexd jobs list --json` prints."""

    jobs: list[JobSummary]
    next: str | None = Field(default=None, description="The cursor of the next page; null on the last one.")


class ShownJob(OutputDocument):
    """What `indexd jobs show --json` prints."""

    job: JobSummary
    items: list[JobItem]
    source: str


class PreviewedItem(Contract):
    """One item that a job would make. `choices` are those of its template."""

    index: int
    seed: int
    path: str
    prompt: str
    negative_prompt: str
    width: int | None
    height: int | None
    choices: dict[str, str]


class JobPreview(OutputDocument):
    """What `indexd jobs expand --json` prints: what a job file would make. Random seeds are drawn anew when it is admitted.

    `seconds` is estimated from finished items of the same kind and stages; None = there are none. `choices` counts the items by
    choice and value. `template_files` are the files that the prompts came from, with the blake3 of each.
    """

    name: str
    kind: str
    images: int
    seconds: float | None
    choices: dict[str, dict[str, int]]
    template_files: dict[str, str]
    sample: list[PreviewedItem]


class JobResult(OutputDocument):
    """The content of `x.result.json`, which is written next to a finished job file."""

    job_id: int
    name: str
    kind: str
    state: str
    error: str | None = None
    created_at: float
    finished_at: float
    items: list[JobItem]
    recipes: list[dict[str, Any]]


class AnnotateReport(OutputDocument):
    """What `rate` and `tag` print: how many images were changed, and the targets that were not found."""

    changed: int
    not_found: list[str] = Field(default_factory=list)


class DoctorCheck(Contract):
    """One check of `doctor`; `advice` is the advice when the state is not ok."""

    name: str
    state: Literal["ok", "warning", "failed"]
    detail: str
    advice: str | None = None
    fixed: bool = Field(default=False, description="`--fix` corrected the problem.")


class ServiceStatus(OutputDocument):
    """What `indexd service status --json` prints: `current` is false when `install` would change a file."""

    installed: bool
    current: bool
    running: bool
    detail: str


class DoctorReport(OutputDocument):
    """What `indexd doctor --json` prints."""

    checks: list[DoctorCheck]
