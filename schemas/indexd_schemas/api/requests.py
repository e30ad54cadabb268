"""What can be asked of the index and done to it, as the local door takes it: the bodies of the API's requests.

A *target* names one picture in text: `id:12`, `hash:<64 hex digits>` or `path:<absolute path, percent-encoded>`; the
encoding lets file names through that are no UTF-8.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from indexd_schemas.contract import Contract
from indexd_schemas.control_types import CANNY_HIGH, CANNY_LOW

TermKind = Literal["similar", "text", "prompt", "negative_prompt", "style", "composition", "face"]
SortOrder = Literal["score", "newest", "oldest", "rating", "clip_score", "aesthetic", "sharpness"]

MAX_LIMIT = 1_000_000
MAX_TERM_CHARACTERS = 20_000
MAX_WEIGHT = 100.0

FilterText = Annotated[str, Field(max_length=4096)]
TargetText = Annotated[str, Field(min_length=1, max_length=16_384)]


class ApiRequest(Contract):
    """Base of everything that is sent to the daemon; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SearchTerm(ApiRequest):
    """One thing that hits should resemble.

    `similar` takes a target, `face` too (its largest face is what counts); the others take words: `text` against the look, `prompt` and `negative_prompt` against what
    was written there, `style` and `composition` against the prompt as SDXL's two text encoders read it. A negative
    weight pushes away.
    """

    kind: TermKind
    value: str = Field(min_length=1, max_length=MAX_TERM_CHARACTERS)
    weight: float = Field(1.0, ge=-MAX_WEIGHT, le=MAX_WEIGHT)


class SearchRequest(ApiRequest):
    """A whole question: terms rank, filters (in the filter language) decide who may appear.

    `sort` None = by score when there are terms, else newest first. `min_score` None = the default cut-off, which
    leaves out what does not fit; `everything` = no cut-off at all. `explain` = say each hit's score by term.
    """

    terms: tuple[SearchTerm, ...] = Field((), max_length=32)
    filters: tuple[FilterText, ...] = Field((), max_length=256)
    sort: SortOrder | None = None
    limit: int = Field(20, ge=1, le=MAX_LIMIT)
    min_score: float | None = Field(None, allow_inf_nan=False)
    everything: bool = False
    explain: bool = False


class RateRequest(ApiRequest):
    """Give pictures a rating; 0 takes it away."""

    targets: tuple[TargetText, ...] = Field(min_length=1, max_length=100_000)
    rating: int = Field(ge=0, le=5)


class TagRequest(ApiRequest):
    """Put tags on pictures and take tags off."""

    targets: tuple[TargetText, ...] = Field(min_length=1, max_length=100_000)
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class SubmitRequest(ApiRequest):
    """A job file: its name (for messages and folders) and its text."""

    name: str = Field(min_length=1, max_length=255)
    source: str


class ScanRequest(ApiRequest):
    """Compare every root with the index now; `wait` = answer when it is done."""

    wait: bool = True


class ControlMapRequest(ApiRequest):
    """Make a control map of the picture at a path; width and height together, None = the picture's own size."""

    picture: TargetText
    type: str = Field(min_length=1, max_length=100)
    width: int | None = Field(None, ge=8, le=16_384)
    height: int | None = Field(None, ge=8, le=16_384)
    low: int = Field(CANNY_LOW, ge=0, le=1000)
    high: int = Field(CANNY_HIGH, ge=0, le=1000)


class ReparseRequest(ApiRequest):
    """Read the stored metadata of the next `limit` images above the id `after` again; a slice, so that nobody waits long."""

    after: int = Field(0, ge=0, lt=2**63)
    limit: int = Field(500, ge=1, le=10_000)
    everything: bool = False
