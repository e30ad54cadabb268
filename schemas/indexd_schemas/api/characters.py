"""Characters: requests, corrections and responses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from indexd_schemas.api.annotations import MAX_CHARACTER_NAME_CHARACTERS
from indexd_schemas.api.output import OutputDocument
from indexd_schemas.api.requests import ApiRequest, CursorText, FilterText, TargetText
from indexd_schemas.contract import Contract

CharacterSelector = Annotated[str, Field(min_length=1, max_length=200)]
CorrectionKind = Literal[
    "new", "name", "merge", "split", "confirm", "reject", "hide", "show", "threshold", "apart", "undo"
]
SampleStrategy = Literal["random", "diverse", "best", "typical"]
ClusteringPhase = Literal["never", "running", "done", "cancelled", "failed"]
MAX_FACES = 100_000


class FaceReference(ApiRequest):
    """A face, by the id of its region or by its image.

    `number` counts the faces of the image from 1, the largest first. Without it, exactly one face of the image must fit.
    """

    region: int | None = Field(None, ge=1)
    target: TargetText | None = None
    number: int | None = Field(None, ge=1)


class CharacterListRequest(ApiRequest):
    """All characters; with `hidden` the hidden ones too."""

    hidden: bool = False


class CharacterRequest(ApiRequest):
    """One character (name or id), with at most `limit` of its faces, chosen by `strategy`."""

    character: CharacterSelector
    limit: int = Field(24, ge=0, le=MAX_FACES)
    strategy: SampleStrategy = "typical"


class CorrectionRequest(ApiRequest):
    """A correction by a person. The fields depend on `kind`:

    new: `name`, `faces`. name: `character`, `name` ("" removes it). merge: `character` gets the faces of `others`.
    split: `character`, and `faces` or a cosine `at`. confirm, reject: `character`, `faces`. hide, show: `character`.
    threshold: `character`, `at` (None = that of the settings). apart: `character` and one of `others` are two people.
    undo: `number` (None = the latest).
    """

    kind: CorrectionKind
    character: CharacterSelector | None = None
    others: tuple[CharacterSelector, ...] = Field((), max_length=1000)
    faces: tuple[FaceReference, ...] = Field((), max_length=MAX_FACES)
    name: str | None = Field(None, max_length=MAX_CHARACTER_NAME_CHARACTERS)
    at: float | None = Field(None, ge=0.0, le=1.0)
    number: int | None = Field(None, ge=1)


class CorrectionLogRequest(ApiRequest):
    """The newest corrections."""

    limit: int = Field(50, ge=1, le=100_000)
    cursor: CursorText = None


class ClusterRequest(ApiRequest):
    """Start a clustering, get its progress (`status`), or cancel it."""

    action: Literal["start", "status", "cancel"] = "start"


class SampleRequest(ApiRequest):
    """A few images: of a character, or of the images that match all filters (chosen by their embeddings)."""

    character: CharacterSelector | None = None
    filters: tuple[FilterText, ...] = Field((), max_length=256)
    strategy: SampleStrategy = "diverse"
    count: int = Field(20, ge=1, le=MAX_FACES)
    seed: int = Field(0, ge=0)


class Character(Contract):
    """A character. `curated`: a person named or corrected it. `threshold` is null when the one of the settings applies."""

    id: int
    name: str | None
    faces: int
    images: int
    confirmed: int
    curated: bool
    hidden: bool
    threshold: float | None = None


class CharacterFace(Contract):
    """A face of a character. `box` is left, top, width, height as shares of the upright image; `quality` is 0 to 1.

    `similarity` is the cosine to the prototypes of the character, `source` the way it was assigned.
    """

    region: int
    image_id: int
    hash: str
    path: str | None
    box: tuple[float, float, float, float]
    quality: float
    similarity: float | None = None
    source: Literal["cluster", "assigned", "confirmed"]


class CharacterList(OutputDocument):
    """What `indexd characters list --json` prints; `unassigned` counts faces without a character."""

    characters: list[Character]
    faces: int
    unassigned: int


class ShownCharacter(OutputDocument):
    """What `indexd characters show --json` prints."""

    character: Character
    faces: list[CharacterFace]


class CorrectionResult(OutputDocument):
    """What a correction did: its number in the log, a description, and the characters that it created."""

    number: int
    text: str
    made: list[int] = Field(default_factory=list)


class LoggedCorrection(Contract):
    """A correction in the log; `undone_at` is null while it applies."""

    number: int
    at: float
    kind: str
    text: str
    undone_at: float | None


class CorrectionLog(OutputDocument):
    """What `indexd characters undo --list --json` prints, newest first."""

    corrections: list[LoggedCorrection]
    next: str | None = Field(default=None, description="The cursor of the next page; null on the last one.")


class SuggestedSplit(Contract):
    """A character with two dense cores. `separation` is their distance divided by their width; `faces` are the smaller core."""

    character: Character
    separation: float
    faces: list[int]


class SuggestedMerge(Contract):
    """Two characters whose faces form one cluster; `similarity` is the cosine of their centroids."""

    one: Character
    other: Character
    similarity: float


class Suggestions(OutputDocument):
    """What `indexd characters suggest --json` prints."""

    splits: list[SuggestedSplit]
    merges: list[SuggestedMerge]


class ClusteringState(OutputDocument):
    """State and counts of the latest clustering. `stage`, `done` and `total` are its progress while it runs.

    `joined`: faces without a character that got one. `moved`: faces that changed their character. `made`: new characters.
    `assigned`: faces that the face assigner assigned afterwards.
    """

    state: ClusteringPhase
    stage: str = ""
    done: int = 0
    total: int = 0
    faces: int = 0
    joined: int = 0
    moved: int = 0
    made: int = 0
    assigned: int = 0
    seconds: float = 0.0
    problem: str = ""


class SampledImage(Contract):
    """An image of a sample; `region` is the face for which it was chosen."""

    image_id: int
    hash: str
    path: str | None
    region: int | None = None


class SampleResult(OutputDocument):
    """What `indexd sample --json` prints, in the order of choice; `among` counts the candidates."""

    images: list[SampledImage]
    among: int
