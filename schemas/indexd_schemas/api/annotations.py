"""Annotations in exchange format: the lines of `indexd export` and `import`, and the requests on annotations.

One JSON line for each content, keyed by the BLAKE3 hash of the image file. Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from indexd_schemas.api.output import OutputDocument
from indexd_schemas.api.requests import ApiRequest, FilterText, TargetText
from indexd_schemas.contract import Contract

MAX_TAG_CHARACTERS = 200
MAX_NOTE_CHARACTERS = 20_000
MAX_CHARACTER_NAME_CHARACTERS = 100
RECORDS_PER_PAGE = 1000

TagText = Annotated[str, Field(min_length=1, max_length=MAX_TAG_CHARACTERS)]
NoteText = Annotated[str, Field(min_length=1, max_length=MAX_NOTE_CHARACTERS)]
Timestamp = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
BoxShare = Annotated[float, Field(ge=-1, le=2, allow_inf_nan=False)]
EncodedPath = Annotated[str, Field(min_length=1, max_length=16_384)]
"""A path, percent-encoded, because a name need not be valid UTF-8."""


class ExportHeader(Contract):
    """The first line of an export."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["indexd-annotations"] = "indexd-annotations"
    schema_version: Literal[1] = 1


class FaceLabelRecord(Contract):
    """A face of a named character. `box` is left, top, width, height as shares of the upright image.

    `verdict`: a person confirmed (`is`) or rejected (`not`) the face, or a clustering assigned it (`member`).
    """

    model_config = ConfigDict(extra="forbid")

    kind: str = Field("face", min_length=1, max_length=100)
    box: tuple[BoxShare, BoxShare, BoxShare, BoxShare]
    character: str = Field(min_length=1, max_length=MAX_CHARACTER_NAME_CHARACTERS)
    verdict: Literal["is", "not", "member"] = "is"
    said_at: Timestamp | None = None
    hidden: bool | None = None
    threshold: float | None = Field(None, ge=0, le=1)


class AnnotationRecord(Contract):
    """One line of an export: the annotations of one content. `name`, the latest path, is ignored by the import."""

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
    """A record with the current paths of the content (absolute, percent-encoded)."""

    record: AnnotationRecord
    places: list[str] = Field(default_factory=list)


class AnnotationPage(OutputDocument):
    """A page of records; `next` is the cursor of the next page, null on the last one."""

    records: list[LocatedRecord]
    next: str | None = None


class ExportRequest(ApiRequest):
    """A page of all annotations; with filters only of the images that match them."""

    cursor: str = Field("", pattern=r"^(image:\d{1,18}|pending:([0-9a-f]{2})*)?$")
    filters: tuple[FilterText, ...] = Field((), max_length=256)
    limit: int = Field(RECORDS_PER_PAGE, ge=1, le=10_000)


class ImportRequest(ApiRequest):
    """Merge records. With `prefer_file` their ratings and notes win, whatever their time."""

    records: tuple[AnnotationRecord, ...] = Field(max_length=10_000)
    prefer_file: bool = False
    dry_run: bool = False


class ImportReport(OutputDocument):
    """The result of `import`. `pending` counts contents that are not in the index."""

    records: int
    changed: int
    same: int
    pending: int
    dry_run: bool = False


class NoteRequest(ApiRequest):
    """Set the note of images; an empty text removes it, `append` adds a line."""

    targets: tuple[TargetText, ...] = Field(min_length=1, max_length=100_000)
    text: str = Field("", max_length=MAX_NOTE_CHARACTERS)
    append: bool = False


class AnnotateMatchingRequest(ApiRequest):
    """Annotate every image that matches all filters. It fails when more than `at_most` images match."""

    filters: tuple[FilterText, ...] = Field(min_length=1, max_length=256)
    rating: int | None = Field(None, ge=0, le=5)
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    note: str | None = Field(None, max_length=MAX_NOTE_CHARACTERS)
    append: bool = False
    at_most: int | None = Field(None, ge=0)
    dry_run: bool = False


class RelocateRequest(ApiRequest):
    """The folder `old` was moved to `new`."""

    old: EncodedPath
    new: EncodedPath
    dry_run: bool = False


class RelocatedRoot(Contract):
    """A watched folder with a new path."""

    old: str
    new: str


class RelocateReport(OutputDocument):
    """The result of `relocate`. `dropped` counts old entries whose new path is already in the index."""

    files: int
    dropped: int
    roots: list[RelocatedRoot] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    dry_run: bool = False


class ForgetRequest(ApiRequest):
    """Remove missing files: all, or those under a folder. `offline`: also when that folder itself is gone."""

    under: EncodedPath | None = None
    older_than_seconds: float = Field(0.0, ge=0, le=1e12)
    offline: bool = False
    with_annotations: bool = False
    dry_run: bool = False


class ForgetReport(OutputDocument):
    """What `forget` removed, or would remove: files, and images without another file.

    The annotations of `annotations_kept` images stay pending. `still_there` counts files that are marked as missing but
    exist; they stay in the index.
    """

    files: int
    images: int
    annotations_kept: int
    still_there: int
    examples: list[str] = Field(default_factory=list)
    dry_run: bool = False


class SidecarReport(OutputDocument):
    """The result of `export --xmp`. Another program wrote or changed the `foreign` sidecars; they stay unchanged."""

    written: int
    unchanged: int
    foreign: list[str] = Field(default_factory=list)
    failed: list[str] = Field(default_factory=list)
