"""Duplicates and statistics of the library: requests and JSON reports."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from indexd_schemas.api.output import OutputDocument
from indexd_schemas.api.requests import ApiRequest, FilterText
from indexd_schemas.contract import Contract

DuplicateKind = Literal["same", "near", "variations", "similar"]
StatsKey = Literal[
    "model",
    "lora",
    "sampler",
    "schedule",
    "generator",
    "month",
    "year",
    "size",
    "steps",
    "cfg",
    "rating",
    "tag",
    "choice",
]
DEFAULT_MIN_SIMILARITY = 0.93


class DuplicatesRequest(ApiRequest):
    """Find duplicates of these kinds among the images that match the filters; `limit` is per kind.

    `near` is one image in other bytes; `variations` look like it and are other images. `threshold` is the lowest cosine for the kind `similar`.
    """

    kinds: tuple[DuplicateKind, ...] = Field(("same", "near"), min_length=1, max_length=4)
    filters: tuple[FilterText, ...] = Field((), max_length=256)
    limit: int = Field(20, ge=1, le=1_000_000)
    threshold: float = Field(DEFAULT_MIN_SIMILARITY, ge=0.5, le=1.0)


class DuplicateMember(Contract):
    """One image of a group; for the kind `same`, one file.

    `similarity` compares it with the image to keep: 1 for `same`, 1 minus the share of differing bits for `near` and
    `variations` (there with the first image), the cosine for `similar`.
    """

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
    """Duplicates of each other, the image to keep first; `reason` explains the choice. `spare_bytes` is the size of the others.

    Variations are all kept; `reason` names what differs.
    """

    kind: DuplicateKind
    reason: str
    spare_bytes: int
    members: list[DuplicateMember]


class DuplicateKindCount(Contract):
    """The number of all groups of a kind and of their images or files, including groups that are not listed."""

    kind: DuplicateKind
    groups: int
    members: int


class DuplicatesReport(OutputDocument):
    """What `indexd duplicates --json` prints. `notes` name images that could not be compared."""

    groups: list[DuplicateGroup]
    found: list[DuplicateKindCount]
    seconds: float
    notes: list[str] = Field(default_factory=list)


class StatsRequest(ApiRequest):
    """Count the images that match the filters, by each key.

    Images with five stars are compared with the other rated images (`rest` = `rated`) or with all others (`all`).
    """

    by: tuple[StatsKey, ...] = Field(("model", "lora", "sampler", "month", "generator"), max_length=13)
    filters: tuple[FilterText, ...] = Field((), max_length=256)
    limit: int = Field(15, ge=1, le=10_000)
    rest: Literal["rated", "all"] = "rated"


class StatisticsCount(Contract):
    """One value: its images, their share of all images, and the mean rating of the rated ones.

    `shrunk_rating` is that mean, shrunk towards the mean of all images.
    """

    value: str
    images: int
    share: float
    rated: int
    mean_rating: float | None = None
    shrunk_rating: float | None = None


class CountTable(Contract):
    """The values of one key, the most frequent first. `values` counts distinct values, `stated` the images that have one."""

    key: StatsKey
    stated: int
    values: int
    rows: list[StatisticsCount]


class FiveStarRow(Contract):
    """The share of five-star images among those with this value: `five` of `compared`.

    `low` and `high` are the 95 % confidence interval. `verdict` is `above` or `below` when the whole interval is above or
    below the share among all other images.
    """

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
    """A prompt term: the number of five-star prompts and of other prompts that contain it, and the log-odds ratio.

    `z` is `log_odds` in standard errors. Terms with |z| below 1.96 are not listed.
    """

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
