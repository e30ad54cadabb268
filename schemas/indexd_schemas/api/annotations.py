"""What people put in, as it leaves and enters: the lines of `indexd export` and `import`, and the requests around them.

One line a content, JSON, keyed by the blake3 hash of the picture's bytes. Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from indexd_schemas.api.output import OutputDocument
from indexd_schemas.api.requests import ApiRequest, FilterText, TargetText
from indexd_schemas.contract import Contract

MAX_TAG_CHARACTERS = 200
MAX_NOTE_CHARACTERS = 20_000
MAX_CHARACTER_NAME = 100
RECORDS_PER_PAGE = 1000

TagText = Annotated[str, Field(min_length=1, max_length=MAX_TAG_CHARACTERS)]
NoteText = Annotated[str, Field(min_length=1, max_length=MAX_NOTE_CHARACTERS)]
Timestamp = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
BoxShare = Annotated[float, Field(ge=-1, le=2, allow_inf_nan=False)]
EncodedPath = Annotated[str, Field(min_length=1, max_length=16_384)]
"""A path, percent-encoded, so that names which are no UTF-8 get through."""


class ExportHeader(Contract):
    """The first line of an export."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["indexd-marks"] = "indexd-marks"
    schema_version: Literal[1] = 1


class FaceLabelRecord(Contract):
    """A face of a named character: where it lies (left, top, width, height: shares of the upright picture), and whether a
    person said that it is the character's (`is`) or not (`not`), or a clustering put it there (`member`)."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field("face", min_length=1, max_length=100)
    box: tuple[BoxShare, BoxShare, BoxShare, BoxShare]
    character: str = Field(min_length=1, max_length=MAX_CHARACTER_NAME)
    word: Literal["is", "not", "member"] = "is"
    said_at: Timestamp | None = None
    hidden: bool | None = None
    threshold: float | None = Field(None, ge=0, le=1)


class AnnotationRecord(Contract):
    """One line of an export: what was said of one content. `name` is for people (where it was seen last), and not read."""

    model_config = ConfigDict(extra="forbid")

    hash: str = Field(pattern=r"^[0-9a-fA-F]{64}$")
    rating: int | None = Field(None, ge=1, le=5)
    rated_at: Timestamp | None = None
    tags: list[TagText] = Field(default_factory=list, max_length=10_000)
    note: NoteText | None = None
    noted_at: Timestamp | None = None
    faces: list[FaceLabelRecord] | None = Field(None, max_length=1000)
    name: str | None = None


class LocatedRecord(Contract):
    """A record with the places (percent-encoded absolute paths) where the content lies now."""

    record: AnnotationRecord
    places: list[str] = Field(default_factory=list)


class AnnotationPage(OutputDocument):
    """Some records; `next` is the cursor of the next page, null at the end."""

    records: list[LocatedRecord]
    next: str | None = None


class ExportRequest(ApiRequest):
    """A page of what people put in; with filters only of the pictures that meet them."""

    cursor: str = Field("", pattern=r"^(image:\d{1,18}|pending:([0-9a-f]{2})*)?$")
    filters: tuple[FilterText, ...] = Field((), max_length=256)
    limit: int = Field(RECORDS_PER_PAGE, ge=1, le=10_000)


class ImportRequest(ApiRequest):
    """Merge records; `prefer_file`: what they state wins over what the index has, whenever that was said."""

    records: tuple[AnnotationRecord, ...] = Field(max_length=10_000)
    prefer_file: bool = False
    dry_run: bool = False


class ImportReport(OutputDocument):
    """What `import` reports. `waiting` counts contents that are not in the index: their marks wait for them."""

    records: int
    changed: int
    same: int
    waiting: int
    dry_run: bool = False


class NoteRequest(ApiRequest):
    """Set the note of pictures; empty takes it away, `append` adds a line."""

    targets: tuple[TargetText, ...] = Field(min_length=1, max_length=100_000)
    text: str = Field("", max_length=MAX_NOTE_CHARACTERS)
    append: bool = False


class AnnotateMatchingRequest(ApiRequest):
    """Mark every picture that meets all filters. `at_most`: refuse when more meet them than a person was shown."""

    filters: tuple[FilterText, ...] = Field(min_length=1, max_length=256)
    rating: int | None = Field(None, ge=0, le=5)
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    note: str | None = Field(None, max_length=MAX_NOTE_CHARACTERS)
    append: bool = False
    at_most: int | None = Field(None, ge=0)
    dry_run: bool = False


class RelocateRequest(ApiRequest):
    """Everything under `old` lies under `new` now."""

    old: EncodedPath
    new: EncodedPath
    dry_run: bool = False


class RelocatedRoot(Contract):
    """A watched folder that has another path."""

    old: str
    new: str


class RelocateReport(OutputDocument):
    """What `relocate` reports. `dropped` places gave way to a file that is known at the new place already."""

    files: int
    dropped: int
    roots: list[RelocatedRoot] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    dry_run: bool = False


class ForgetRequest(ApiRequest):
    """Take away what is missing: all of it, or what lies under a folder. `offline`: also where that folder is gone."""

    under: EncodedPath | None = None
    older_than_seconds: float = Field(0.0, ge=0, le=1e12)
    offline: bool = False
    with_marks: bool = False
    dry_run: bool = False


class ForgetReport(OutputDocument):
    """What `forget` took away, or would: places, pictures that lay nowhere else, of which `marks_kept` had marks that wait
    for the content. `still_there` were missing and lie there again; they stay."""

    files: int
    images: int
    marks_kept: int
    still_there: int
    examples: list[str] = Field(default_factory=list)
    dry_run: bool = False


class SidecarReport(OutputDocument):
    """What `export --xmp` did: `foreign` sidecars were written or changed by another program and stay as they are."""

    written: int
    unchanged: int
    foreign: list[str] = Field(default_factory=list)
    failed: list[str] = Field(default_factory=list)
