"""The JSON that indexd prints and serves. Every document carries `schema_version`; a field is never renamed within one.

Times are seconds since the epoch, paths are text (bytes that are no UTF-8 are replaced,
and `path_quoted` has the path percent-encoded then), hashes are hex.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from indexd_schemas.contract import Contract

SCHEMA_VERSION = 1


class OutputDocument(Contract):
    """Base of everything that is printed as JSON."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1


class ImageLora(Contract):
    """A LoRA used for a picture."""

    name: str
    weight: float | None = None
    text_weight: float | None = None
    hash: str | None = None


class ImageFile(Contract):
    """One place where a picture lies, or lay: `missing_since` is null while it is there."""

    path: str
    path_quoted: str | None = None
    size: int
    modified_at: float
    missing_since: float | None = None


class PendingTask(Contract):
    """Work that a picture still waits for."""

    stage: str
    state: str
    attempts: int
    error: str | None = None
    waits_for: str | None = None


class ImageSummary(Contract):
    """A picture as people see it."""

    id: int
    hash: str
    path: str | None
    path_quoted: str | None = None
    format: str
    width: int
    height: int
    added_at: float
    created_at: float | None = None
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
    loras: list[ImageLora] = Field(default_factory=list)
    scores: dict[str, float] = Field(default_factory=dict)
    rating: int | None = None
    tags: list[str] = Field(default_factory=list)
    folder_tags: list[str] = Field(default_factory=list)
    note: str | None = None
    job: str | None = None
    is_ai: str | None = None
    problem: str | None = None


class SamplerRun(Contract):
    """One pass of a sampler, the first one first; `start_step` and `end_step` where it did only some of the steps."""

    seed: str | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    denoise: float | None = None
    model: str | None = None
    start_step: int | None = None
    end_step: int | None = None


class ControlUnit(Contract):
    """A ControlNet: `module` is its preprocessor, `start` and `end` are shares of the steps."""

    model: str | None = None
    module: str | None = None
    weight: float | None = None
    start: float | None = None
    end: float | None = None


class ImageEmbedding(Contract):
    """A textual inversion that the prompts name."""

    name: str
    hash: str | None = None


class PlacedCharacterPrompt(Contract):
    """A prompt for one character in the picture, and where it stands (shares, 0 to 1)."""

    text: str
    negative_text: str | None = None
    x: float | None = None
    y: float | None = None


class ModelResource(Contract):
    """A model as a site of models knows it: Civitai's version number or `urn:air:…`."""

    address: str
    kind: str | None = None
    name: str | None = None
    version: str | None = None
    weight: float | None = None


class DetailerPass(Contract):
    """What a detector found was made anew; texts are null where the picture's own were used."""

    model: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    denoise: float | None = None


class GenerationDetails(Contract):
    """How a picture was made, beyond what lists show: `source` is where in the file it stands, `guidance` the distilled
    one (FLUX), `upscaler` what enlarged the finished picture."""

    source: str | None = None
    raw_prompt: str | None = None
    gen_width: int | None = None
    gen_height: int | None = None
    clip_skip: int | None = None
    vae: str | None = None
    variation_seed: str | None = None
    variation_strength: float | None = None
    guidance: float | None = None
    refiner: str | None = None
    hires_scale: float | None = None
    hires_steps: int | None = None
    hires_upscaler: str | None = None
    hires_denoise: float | None = None
    upscaler: str | None = None
    passes: list[SamplerRun] = Field(default_factory=list)
    controls: list[ControlUnit] = Field(default_factory=list)
    embeddings: list[ImageEmbedding] = Field(default_factory=list)
    characters: list[PlacedCharacterPrompt] = Field(default_factory=list)
    resources: list[ModelResource] = Field(default_factory=list)
    detailers: list[DetailerPass] = Field(default_factory=list)


class ImageRegion(Contract):
    """A face, or another thing that a detector found. The box is in shares, 0 to 1, of the upright picture; `size_px` is
    its shorter side, `quality` (0 to 1) says how good a picture of it this is. The id stays when it is found again. `character` says whose
    face it is, null = nobody's."""

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
    """What an index stage (`source`) states of an image: a caption, a tag, a score. `score` is the model's confidence."""

    source: str
    key: str
    value: str
    score: float | None = None


class ScoreContribution(Contract):
    """What one term adds to a hit's score: `term` as it was asked, `layer` it was compared in, its `plain` score there
    (cosine, bm25; null = the picture has no vector, or does not match), and that score calibrated (`z`)."""

    term: str
    layer: str
    weight: float
    raw: float | None = None
    z: float


class SearchHit(Contract):
    """One answer: `score` is the fused score that ranks, `scores` the plain one of each layer asked (cosine, bm25).

    `parts` tell where the score comes from, when the question asked for that.
    """

    rank: int
    score: float | None = None
    scores: dict[str, float] = Field(default_factory=dict)
    parts: list[ScoreContribution] | None = None
    image: ImageSummary


class SearchResults(OutputDocument):
    """What `indexd query --json` prints. `notes` say what could not be used and why.

    `cutoff` is the score below which nothing is shown (null = no cut-off), `best_score` that of the best picture, shown
    or not, and `left_out` counts those that only the cut-off kept from being shown.
    """

    hits: list[SearchHit]
    candidate_count: int
    seconds: float
    cutoff: float | None = None
    best_score: float | None = None
    cut_off_count: int = 0
    notes: list[str] = Field(default_factory=list)
    next: str | None = Field(default=None, description="The cursor of the next page; null on the last one.")


class ShownImage(OutputDocument):
    """What `indexd show --json` prints. `notes` says what of the image is not searched as one would expect."""

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
    """What `indexd explain --json` prints: `state` is one word, `sentences` say the rest."""

    path: str
    state: Literal["indexed", "pending", "skipped", "missing", "unknown", "ignored", "outside"]
    sentences: list[str]
    image_id: int | None = None
    index_tasks: list[PendingTask] = Field(default_factory=list)


class RootState(Contract):
    """A watched folder: `mode` is native or poll, `reason` says why."""

    path: str
    purpose: str
    mode: str
    reason: str
    online: bool
    pending: int = 0
    last_reconcile: float | None = None
    lost_events: int = 0


class WorkerState(Contract):
    """A worker process: `lane` is card, cpu, decode or cluster; `models` maps resident roles to seconds since their last use.

    `running` counts the calls in hand, `queued` those not begun.
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
    """One thing the daemon noticed."""

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
    workers: list[WorkerState] = Field(default_factory=list)
    roles: list[RoleState] = Field(default_factory=list)
    events: list[DaemonEvent] = Field(default_factory=list)


class ItemProgress(Contract):
    """How far the call of an item has come: `done` of `total` in `stage`."""

    stage: str
    done: int
    total: int


class JobItem(Contract):
    """One picture of a job.

    `stage_seconds` are the seconds of its stages. `scores` are those that the job asked for, `kept` is false where they
    were not good enough (then it lies in `rejected/`), null where the job keeps everything or has not ended. `notes` say
    what was found and skipped on the way, and what could not be taken over from the picture that is made again.
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
    """A job as people see it; `items` counts its pictures by state."""

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


class JobResult(OutputDocument):
    """What stands in `x.result.json` beside a finished job file."""

    job_id: int
    name: str
    kind: str
    state: str
    error: str | None = None
    created_at: float
    finished_at: float
    images: list[JobItem]
    recipes: list[dict[str, Any]]


class AnnotateReport(OutputDocument):
    """What `rate` and `tag` print: how many pictures were changed, and the ones that were not found."""

    changed: int
    not_found: list[str] = Field(default_factory=list)


class DoctorCheck(Contract):
    """One line of `doctor`: what was looked at, how it stands, and the cure where it is not well."""

    name: str
    state: Literal["ok", "warning", "failed"]
    detail: str
    cure: str | None = None
    fixed: bool = Field(default=False, description="`--fix` has done the cure.")


class ServiceStatus(OutputDocument):
    """What `indexd service status --json` prints: `current` = install would write nothing new."""

    installed: bool
    current: bool
    running: bool
    detail: str


class DoctorReport(OutputDocument):
    """What `indexd doctor --json` prints."""

    checks: list[DoctorCheck]
