"""What is asked about the library as a whole, and the JSON that answers: duplicates and statistics."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from indexd_schemas.api.output import OutputDocument
from indexd_schemas.api.requests import ApiRequest, FilterText
from indexd_schemas.contract import Contract

DuplicateKind = Literal["same", "near", "similar"]
StatsKey = Literal[
    "model", "lora", "sampler", "schedule", "generator", "month", "year", "size", "steps", "cfg", "rating", "tag"
]
DEFAULT_MIN_SIMILARITY = 0.93


class DuplicatesRequest(ApiRequest):
    """Which kinds of duplicates, among which pictures (filters), how many groups of each kind.

    `threshold` is the least cosine for `similar`.
    """

    kinds: tuple[DuplicateKind, ...] = Field(("same", "near"), min_length=1, max_length=3)
    filters: tuple[FilterText, ...] = Field((), max_length=256)
    limit: int = Field(20, ge=1, le=1_000_000)
    threshold: float = Field(DEFAULT_MIN_SIMILARITY, ge=0.5, le=1.0)


class DuplicateMember(Contract):
    """One picture of a group, or for the kind `same` one file. `likeness` is how near it is to the one to keep: for
    `near` 1 minus the share of differing bits, for `similar` the cosine; 1 for the same bytes."""

    keep: bool
    image_id: int
    hash: str
    path: str | None
    width: int
    height: int
    format: str
    byte_count: int
    modified_at: float | None
    rating: int | None = None
    similarity: float


class DuplicateGroup(Contract):
    """Pictures that belong together, the one to keep first; `reason` says why that one. `spare_bytes` is what the others
    take on the disk."""

    kind: DuplicateKind
    reason: str
    spare_bytes: int
    members: list[DuplicateMember]


class DuplicateKindCount(Contract):
    """How many groups of a kind there are in all, with how many pictures or files, those not listed included."""

    kind: DuplicateKind
    groups: int
    members: int


class DuplicatesReport(OutputDocument):
    """What `indexd duplicates --json` prints. `notes` say what could not be compared."""

    groups: list[DuplicateGroup]
    found: list[DuplicateKindCount]
    seconds: float
    notes: list[str] = Field(default_factory=list)


class StatsRequest(ApiRequest):
    """What to count by, among which pictures; `rest` says whom pictures of five stars are compared with: the other rated
    ones, or all others."""

    by: tuple[StatsKey, ...] = Field(("model", "lora", "sampler", "month", "generator"), max_length=12)
    filters: tuple[FilterText, ...] = Field((), max_length=256)
    limit: int = Field(15, ge=1, le=10_000)
    rest: Literal["rated", "all"] = "rated"


class StatisticsCount(Contract):
    """One value: how many pictures have it and which share of all that is; of those rated, the mean rating, plain and
    drawn towards the mean of all."""

    value: str
    images: int
    share: float
    rated: int
    mean_rating: float | None = None
    shrunk_rating: float | None = None


class CountTable(Contract):
    """The values of one key, the most frequent first. `values` is how many different ones there are, `stated` how many
    pictures say anything about it."""

    key: StatsKey
    stated: int
    values: int
    rows: list[StatisticsCount]


class FiveStarRow(Contract):
    """How pictures with this value fare: `five` of `compared` have five stars; `low` and `high` bound the true share with
    95 % confidence. `verdict` says whether that interval lies wholly above or below the share among all others."""

    key: StatsKey
    value: str
    five: int
    compared: int
    share: float
    low: float
    high: float
    others_share: float
    verdict: Literal["above", "below", "unclear"]


class PromptTermRow(Contract):
    """A term of prompts: in how many five-star prompts and in how many others it stands; `log_odds` is how much more it
    belongs to the first, `z` the same in standard errors; below 1.96 a term is not listed."""

    term: str
    five: int
    others: int
    log_odds: float
    z: float


class StatisticsReport(OutputDocument):
    """What `indexd stats --json` prints."""

    images: int
    rated: int
    mean_rating: float | None = None
    ratings: dict[str, int]
    first_at: float | None = None
    last_at: float | None = None
    tables: list[CountTable]
    five_stars: list[FiveStarRow]
    terms_for: list[PromptTermRow]
    terms_against: list[PromptTermRow]
    seconds: float
    notes: list[str] = Field(default_factory=list)
