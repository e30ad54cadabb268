"""Records of regions, faces and characters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from indexd.worker.calls import FoundRegion


Ids: TypeAlias = "NDArray[np.int64]"


@dataclass(frozen=True, slots=True)
class RegionRow:
    """A face or another detected region of an image. An `id` is never reused, and stays when the region is found again."""

    id: int
    image_id: int
    region: FoundRegion


@dataclass(frozen=True, slots=True)
class FaceVectors:
    """Row i of `vectors`, float16 (n, dim) of unit length, belongs to the region `ids[i]`; ids rise."""

    ids: Ids
    vectors: NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class FacesChanged:
    """Regions that have a new vector now (new faces, or known ones seen again), and regions that are gone for good."""

    put: tuple[int, ...]
    removed: tuple[int, ...]


MembershipSource = Literal["cluster", "assigned", "confirmed"]


@dataclass(frozen=True, slots=True)
class CharacterRow:
    """A character. `threshold` None = that of the settings; `curated`: a person named, merged, split or confirmed
    it; `created_at` is seconds since the epoch; `merged_into` is the character that has its faces now; `images` counts each image once."""

    id: int
    name: str | None
    hidden: bool
    threshold: float | None
    curated: bool
    merged_into: int | None
    created_at: float
    faces: int
    images: int
    confirmed: int


@dataclass(frozen=True, slots=True)
class FaceMembership:
    """The character of a face, and how it was assigned."""

    region_id: int
    character_id: int
    source: MembershipSource


@dataclass(frozen=True, slots=True)
class FaceAssignments:
    """What is known of faces, in the order asked for: `character` 0 for none; `rejected` pairs (place, character)."""

    character: Ids
    confirmed: NDArray[np.bool_]
    assigned: NDArray[np.bool_]
    rejected: list[tuple[int, int]]
    curated: set[int]


@dataclass(frozen=True, slots=True)
class ClusteringResult:
    """What a clustering changed: how many faces came from nobody to a character, how many left the one they had, which
    characters it made, and which it touched in all."""

    joined: int
    moved: int
    created: tuple[int, ...]
    touched: frozenset[int]


@dataclass(frozen=True, slots=True)
class CorrectionRow:
    """A correction as the log shows it; `at` and `undone_at` are seconds since the epoch."""

    id: int
    at: float
    kind: str
    text: str
    undone_at: float | None
