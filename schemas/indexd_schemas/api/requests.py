"""Requests of the HTTP API: query parameters of GET, JSON bodies of POST.

A *target* names one image in text: `id:12`, `hash:<64 hex digits>` or `path:<absolute path, percent-encoded>`. The
encoding carries file names that are not UTF-8. A *cursor* is the `next` of the page before; clients do not look into it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from indexd_schemas.contract import Contract
from indexd_schemas.control_types import CANNY_HIGH, CANNY_LOW
from indexd_schemas.job_state import JobState

TermKind = Literal["similar", "text", "prompt", "negative_prompt", "style", "composition", "face"]
SortOrder = Literal["score", "newest", "oldest", "rating", "clip_score", "aesthetic", "sharpness"]

MAX_LIMIT = 1_000_000
MAX_TERM_CHARACTERS = 20_000
MAX_WEIGHT = 100.0

FilterText = Annotated[str, Field(max_length=4096)]
TargetText = Annotated[str, Field(min_length=1, max_length=16_384)]
CursorText = Annotated[str | None, Field(max_length=2048)]


class ApiRequest(Contract):
    """Base of every request; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoParameters(ApiRequest):
    """The request of an operation without parameters."""


class ImageSelector(ApiRequest):
    """One image, by its target."""

    target: TargetText


class ImageId(ApiRequest):
    """One image, by its id."""

    id: int = Field(ge=1, lt=2**63)


class SearchTerm(ApiRequest):
    """One term that scores images.

    `similar` and `face` (its largest face counts) take a target, the others text: `text` is compared with the image,
    `prompt` and `negative_prompt` with its prompts, `style` and `composition` with the prompt as SDXL's two text
    encoders embed it. A negative weight lowers the score of similar images.
    """

    kind: TermKind
    value: str = Field(min_length=1, max_length=MAX_TERM_CHARACTERS)
    weight: float = Field(1.0, ge=-MAX_WEIGHT, le=MAX_WEIGHT)


class SearchRequest(ApiRequest):
    """A search: terms rank, filters (in the filter language) restrict.

    `sort` None = by score when there are terms, else newest first. `min_score` None = the automatic cut-off;
    `everything` = no cut-off at all. `explain` = list each hit's score by term.
    """

    terms: tuple[SearchTerm, ...] = Field((), max_length=32)
    filters: tuple[FilterText, ...] = Field((), max_length=256)
    sort: SortOrder | None = None
    limit: int = Field(20, ge=1, le=MAX_LIMIT)
    min_score: float | None = Field(None, allow_inf_nan=False)
    everything: bool = False
    explain: bool = False
    cursor: CursorText = None


class RateRequest(ApiRequest):
    """Rate images; 0 removes the rating."""

    targets: tuple[TargetText, ...] = Field(min_length=1, max_length=100_000)
    rating: int = Field(ge=0, le=5)


class TagRequest(ApiRequest):
    """Add tags to images and remove tags from them."""

    targets: tuple[TargetText, ...] = Field(min_length=1, max_length=100_000)
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class JobListRequest(ApiRequest):
    """The newest jobs in these states, or in any."""

    states: tuple[JobState, ...] = ()
    limit: int = Field(50, ge=1, le=100_000)
    cursor: CursorText = None


class JobSelector(ApiRequest):
    """One job, by its id or its name."""

    which: str = Field(min_length=1, max_length=255)


class SubmitRequest(ApiRequest):
    """A job file: its name (for messages and folders) and its text."""

    name: str = Field(min_length=1, max_length=255)
    source: str


class PreviewRequest(SubmitRequest):
    """A job file to plan without admitting it, and how many of its items to show."""

    sample: int = Field(10, ge=0, le=1000)


class ScanRequest(ApiRequest):
    """Compare every root with the index now; with `wait` the response comes when that is done."""

    wait: bool = True


class VerifyModelRequest(ApiRequest):
    """A model role, such as `bge`."""

    role: str = Field(min_length=1, max_length=100)


class EventsRequest(ApiRequest):
    """Events after the one with this id; a browser sends it as the header Last-Event-ID. None = events from now on."""

    last_event_id: str | None = Field(None, max_length=100)


class ControlMapRequest(ApiRequest):
    """Make a control map of the image at a path; width and height together, None = the image's own size."""

    image: TargetText
    type: str = Field(min_length=1, max_length=100)
    width: int | None = Field(None, ge=8, le=16_384)
    height: int | None = Field(None, ge=8, le=16_384)
    low: int = Field(CANNY_LOW, ge=0, le=1000)
    high: int = Field(CANNY_HIGH, ge=0, le=1000)


class ReparseRequest(ApiRequest):
    """Parse the stored metadata of the next `limit` images above the id `after` again: those that an older parser version
    parsed, or with `everything` all of them."""

    after: int = Field(0, ge=0, lt=2**63)
    limit: int = Field(500, ge=1, le=10_000)
    everything: bool = False
