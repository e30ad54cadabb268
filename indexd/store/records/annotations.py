"""Records of annotations: ratings, tags, notes and face labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from indexd.worker.calls import Box


@dataclass(frozen=True, slots=True)
class AnnotationSet:
    """Rating 1 to 5, tags, note; times are seconds since the epoch, 0 where nobody knows."""

    rating: int | None = None
    rated_at: float = 0.0
    tags: frozenset[str] = frozenset()
    note: str | None = None
    noted_at: float = 0.0

    def __bool__(self) -> bool:
        return self.rating is not None or bool(self.tags) or bool(self.note)


LabelVerdict = Literal["is", "not", "member"]


@dataclass(frozen=True, slots=True, order=True)
class FaceLabel:
    """A face and the name of its character. `verdict`: is or not = a correction of the user; member = from clustering.

    `labelled_at` is seconds since the epoch (0 for a member); `threshold` None = that of the settings.
    """

    kind: str
    box: Box
    name: str
    verdict: LabelVerdict
    labelled_at: float = 0.0
    hidden: bool = False
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class ExportedAnnotations:
    """The annotations of one content, and the faces of named characters in it.

    `paths` are the absolute paths of its files, and `name` is the last known one. `image_id` None: the content is not in
    the index, and its annotations are pending.
    """

    content_hash: bytes
    annotations: AnnotationSet
    image_id: int | None = None
    name: str | None = None
    paths: tuple[bytes, ...] = ()
    faces: tuple[FaceLabel, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of marks that were brought: how many contents they changed, were known already, and wait."""

    changed: int
    same: int
    pending: int
