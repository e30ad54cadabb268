"""Who is in the pictures: what is asked and said about characters, and the JSON that answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from indexd_schemas.api.output import OutputDocument
from indexd_schemas.api.requests import ApiRequest, CursorText, FilterText, TargetText
from indexd_schemas.contract import Contract

CharacterSelector = Annotated[str, Field(min_length=1, max_length=200)]
CorrectionKind = Literal[
    "new", "name", "merge", "split", "confirm", "reject", "hide", "show", "threshold", "apart", "undo"
]
SampleStrategy = Literal["random", "diverse", "best", "typical"]
MAX_NAME_CHARACTERS = 100
MAX_FACES = 100_000


class FaceReference(ApiRequest):
    """A face: by the id of its region, or by its picture. `number` counts the picture's faces from 1, the largest first;
    without it the picture must have one that fits."""

    region: int | None = Field(None, ge=1)
    target: TargetText | None = None
    number: int | None = Field(None, ge=1)


class CharacterListRequest(ApiRequest):
    """Which characters: those that are `hidden` too?"""

    hidden: bool = False


class CharacterRequest(ApiRequest):
    """One character (name or id), with at most so many of its faces, chosen by `strategy`."""

    character: CharacterSelector
    limit: int = Field(24, ge=0, le=MAX_FACES)
    strategy: SampleStrategy = "typical"


class CorrectionRequest(ApiRequest):
    """What a person puts right. Which fields count follows from `kind`:

    new: `name` and its `faces`. name: `character`, `name` ("" takes it away). merge: `character` gets the faces of `others`. split: `character`, by
    `faces` or `at` a cosine. confirm, reject: `character`, `faces`. hide, show: `character`. threshold: `character`, `at`
    (None = that of the settings). apart: `character` and one of `others` are two. undo: `number` (None = the latest).
    """

    kind: CorrectionKind
    character: CharacterSelector | None = None
    others: tuple[CharacterSelector, ...] = Field((), max_length=1000)
    faces: tuple[FaceReference, ...] = Field((), max_length=MAX_FACES)
    name: str | None = Field(None, max_length=MAX_NAME_CHARACTERS)
    at: float | None = Field(None, ge=0.0, le=1.0)
    number: int | None = Field(None, ge=1)


class CorrectionLogRequest(ApiRequest):
    """The newest corrections."""

    limit: int = Field(50, ge=1, le=100_000)
    cursor: CursorText = None


class ClusterRequest(ApiRequest):
    """Begin a clustering, look how it stands, or cancel it."""

    action: Literal["start", "look", "cancel"] = "start"


class SampleRequest(ApiRequest):
    """A few pictures for many: of a character, or of those that meet all filters (by how they look)."""

    character: CharacterSelector | None = None
    filters: tuple[FilterText, ...] = Field((), max_length=256)
    strategy: SampleStrategy = "diverse"
    count: int = Field(20, ge=1, le=MAX_FACES)
    seed: int = Field(0, ge=0)


class Character(Contract):
    """A character. `kept`: a person had a hand in it. `threshold` is null where that of the settings counts."""

    id: int
    name: str | None
    faces: int
    pictures: int
    confirmed: int
    kept: bool
    hidden: bool
    threshold: float | None = None


class CharacterFace(Contract):
    """A face of a character: its region, its picture, its box (left, top, width, height: shares of the upright picture),
    its quality (0 to 1), how near (cosine) it is to what the character looks like, and how it came there."""

    region: int
    image_id: int
    hash: str
    path: str | None
    box: tuple[float, float, float, float]
    quality: float
    likeness: float | None = None
    source: Literal["cluster", "assigned", "confirmed"]


class CharacterList(OutputDocument):
    """What `indexd characters list --json` prints; `unassigned` counts the faces that are nobody's."""

    characters: list[Character]
    faces: int
    unassigned: int


class ShownCharacter(OutputDocument):
    """What `indexd characters show --json` prints."""

    character: Character
    faces: list[CharacterFace]


class CorrectionResult(OutputDocument):
    """What a correction did: its number in the log, in words, and the characters that it made."""

    number: int
    text: str
    made: list[int] = Field(default_factory=list)


class LoggedCorrection(Contract):
    """A correction in the log; `undone_at` is null while it stands."""

    number: int
    at: float
    kind: str
    text: str
    undone_at: float | None


class CorrectionLog(OutputDocument):
    """What `indexd characters undo --list --json` prints, the newest first."""

    corrections: list[LoggedCorrection]
    next: str | None = Field(default=None, description="The cursor of the next page; null on the last one.")


class SuggestedSplit(Contract):
    """A character with two dense cores; `apart` is their distance in their own width; faces of the smaller one."""

    character: Character
    apart: float
    faces: list[int]


class SuggestedMerge(Contract):
    """Two characters whose faces are one heap; `likeness` is the cosine of their middles."""

    one: Character
    other: Character
    likeness: float


class Suggestions(OutputDocument):
    """What `indexd characters suggest --json` prints."""

    splits: list[SuggestedSplit]
    merges: list[SuggestedMerge]


class ClusteringState(OutputDocument):
    """How the latest clustering stands."""

    state: Literal["never", "running", "done", "cancelled", "failed"]
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
    """A picture of a sample, with the face for which it was chosen (of a character)."""

    image_id: int
    hash: str
    path: str | None
    region: int | None = None


class SampleResult(OutputDocument):
    """What `indexd sample --json` prints, in the order in which the pictures were chosen; `among` is how many there were."""

    pictures: list[SampledImage]
    among: int
