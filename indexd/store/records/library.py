"""Records of files and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import (
    ImageFacts,
    MetadataLora,
    MetadataScore,
)
from indexd.store.records.indexing import StageInput

if TYPE_CHECKING:
    # The command line reads these records at every start, and numpy takes longer than they do.
    import numpy as np
    from numpy.typing import NDArray

    from indexd_schemas.settings import SuggestionMode


@dataclass(frozen=True, slots=True)
class RootRow:
    """A watched folder. `purpose` is "images" or "jobs"; `identity` is "device:inode" as last seen.

    `foreign_root` is the identity of another folder at this path, and how many files the index knew of when it appeared.
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
    """A settled file that was read: its facts, or why it is not a readable image.

    `stages` names the index stages that the image still needs. `layers_by_input` names the layers by the text that they
    embed, for a known image whose sidecar says more now. `suggestions` says what becomes of ratings and keywords of other
    programs.
    """

    root_id: int
    rel: bytes
    stamp: FileStamp
    facts: ImageFacts | None
    problem: str | None = None
    stages: tuple[str, ...] = ()
    layers_by_input: Mapping[StageInput, Sequence[str]] = field(default_factory=dict)
    suggestions: SuggestionMode = "off"


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a scanned file."""

    image_id: int | None
    outcome: Literal["new", "known", "problem"]


@dataclass(frozen=True, slots=True)
class OverwrittenFile:
    """The path of a file that holds another content by now, and its modification time."""

    path: bytes
    at: float


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file that has or had a content. `missing_since` is seconds since the epoch, None while the file is present."""

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
    """An image: one content, the metadata that lists show, its annotations and its files."""

    id: int
    content_hash: bytes
    byte_count: int
    format: str
    width: int
    height: int
    added_at: float
    created_at: float | None
    created_from: str | None
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


@dataclass(slots=True)
class RelocationResult:
    """`files` have a new place; `dropped` gave way to a file that is known there already. `roots`: (old, new) path."""

    files: int = 0
    dropped: int = 0
    roots: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """What was taken away: places, contents, and contents of which the marks were kept waiting."""

    files: int
    images: int
    annotations_kept: int


HASH_BYTES = 64


@dataclass(frozen=True, slots=True)
class HashedImages:
    """Pictures that lie somewhere now and have a hash: row i of each array is of `ids[i]`.

    `hashes` is uint8 (n, 64).
    """

    ids: NDArray[np.int64]
    hashes: NDArray[np.uint8]


Stars = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class ValueCount:
    """One value: how many pictures have it, and how many of them are rated 1, 2, 3, 4 and 5."""

    value: str
    images: int
    stars: Stars


@dataclass(frozen=True, slots=True)
class ImageTotals:
    """All pictures in question. Times are seconds since the epoch, None when there is no picture."""

    images: int
    stars: Stars
    first_at: float | None
    last_at: float | None


TextColumn = Literal["prompt", "negative", "raw_prompt", "tags", "captions", "file_name"]
SEARCHED_COLUMNS: tuple[TextColumn, ...] = ("prompt", "tags", "captions", "file_name")
"""The columns of a full-text query by default: a negative prompt says what an image does not show."""

ImageOrder = Literal["newest", "oldest", "rating", "clip_score", "aesthetic", "sharpness"]
