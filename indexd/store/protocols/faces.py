"""Repositories of faces and characters. A region is a face or another object that a detector found in an image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexd.store.id_set import IdSet
from indexd.store.records import (
    CharacterRow,
    ClusteringResult,
    CorrectionRow,
    FaceAssignments,
    FaceMembership,
    FacesChanged,
    FaceVectors,
    RegionRow,
)
from indexd.worker.calls import FoundRegion

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class FaceRepository(Protocol):
    """Regions by id, and the vectors of faces. Queries use only the active model revision."""

    def subscribe(self, listener: Callable[[FacesChanged], object]) -> Callable[[], None]:
        """Call `listener` after every change; returns the function that unsubscribes it.

        It is called after the commit, in the order of commits, before the next write begins. So it must be quick and must
        not write.
        """
        ...

    def set_enabled(self, *, on: bool) -> None:
        """Switch face detection on or off; harmless when repeated.

        Switched on, the images that were indexed meanwhile get their task. What was detected before stays.
        """
        ...

    def activate(self, identity: str, dim: int, detectors: str) -> int:
        """Make this the model revision of faces; returns its id. Harmless when repeated.

        `identity` identifies the embedder (vectors of `dim`), `detectors` the detectors. If either changed, every image
        that can be decoded is queued; the old regions and vectors stay until then.
        """
        ...

    def put(self, revision_id: int, found: Mapping[int, Sequence[FoundRegion]], vectors: Floats) -> None:
        """Store the regions found in these images and delete their index tasks: one transaction.

        The vector of a region is row `row` of `vectors` (n, dim). A region that was found before keeps its id. Results of a
        revision that is not active any more are ignored.
        """
        ...

    def of_image(self, image_id: int) -> list[RegionRow]:
        """The regions of one image, largest first."""
        ...

    def of_images(self, images: Collection[int]) -> dict[int, list[RegionRow]]:
        """The same of several images; images without any are left out."""
        ...

    def rows(self, ids: Collection[int]) -> dict[int, RegionRow]:
        """Regions by id; unknown ids are left out."""
        ...

    def with_annotations(self, images: Collection[int]) -> dict[int, list[RegionRow]]:
        """The regions of these images that people labelled. They stay even if no detector finds them again."""
        ...

    def image_ids(self, ids: Collection[int]) -> dict[int, int]:
        """The image of each region."""
        ...

    def face_ids(self, images: Collection[int] | None = None) -> IdSet:
        """The ids of the faces in these images (None = all)."""
        ...

    def regions_after(self, region_id: int, limit: int) -> list[RegionRow]:
        """The next `limit` regions after this id, ascending."""
        ...

    def last_id(self) -> int:
        """The highest region id; 0 if there is none."""
        ...

    def counts(self) -> dict[str, int]:
        """How many regions there are, by kind."""
        ...

    def iter_vectors(self, ids: Collection[int] | None = None, revision_id: int | None = None) -> Iterator[FaceVectors]:
        """The vectors of these faces (None = all) in slices of ascending id; faces without a vector are left out.

        `revision_id` None = the active revision.
        """
        ...

    def vectors(self, ids: Collection[int] | None = None, revision_id: int | None = None) -> FaceVectors:
        """The same as one matrix: 2 KB a face of 1024 numbers, without a second copy in memory."""
        ...

    def nearest_images(
        self, query: Floats, k: int, among: Collection[int] | None = None, guaranteed_top_k: int | None = None
    ) -> list[tuple[int, float]]:
        """The `k` images with the faces nearest to `query`, with the cosines of those, best first; see VectorRepository.nearest."""
        ...

    def scores(self, query: Floats, images: Collection[int]) -> dict[int, float]:
        """The exact cosine of the nearest face in each image; images without a face are left out."""
        ...


class CharacterRepository(Protocol):
    """Characters by id, and which faces belong to them."""

    def subscribe(self, listener: Callable[[Collection[int]], object]) -> Callable[[], None]:
        """Call `listener` with the ids of characters whose faces or settings changed; returns the function that unsubscribes it.

        It is called after the commit, from any thread, and must be quick.
        """
        ...

    def rows(self, *, hidden: bool = False, empty: bool = False) -> list[CharacterRow]:
        """The characters with most faces first. `hidden` and `empty` (no face, no name) ones only if requested."""
        ...

    def get(self, character_id: int) -> CharacterRow | None:
        """One character, also a merged or hidden one."""
        ...

    def find_by_name(self, name: str) -> CharacterRow | None:
        """The character of this name, compared without case."""
        ...

    def names(self) -> dict[int, str]:
        """The names of the named characters, by id."""
        ...

    def thresholds(self) -> dict[int, float]:
        """The thresholds that people set for single characters, by id."""
        ...

    def members(self, characters: Collection[int] | None = None) -> list[FaceMembership]:
        """The faces of these characters (None = all), by ascending region id."""
        ...

    def memberships_by_region(self, regions: Collection[int]) -> dict[int, FaceMembership]:
        """The memberships of these faces; faces without a character are left out."""
        ...

    def rejections(self, regions: Collection[int]) -> dict[int, set[int]]:
        """By face, the characters that people said it is not."""
        ...

    def separated_pairs(self) -> set[tuple[int, int]]:
        """Pairs of characters, lower id first, that people said are not the same."""
        ...

    def apply_clustering(self, regions: Ids, decide: Callable[[FaceAssignments], Ids]) -> ClusteringResult:
        """Assign these faces (ascending ids) to the characters that `decide` returns: 0 = none, -1, -2, ... = new ones.

        `decide` receives the present assignments inside the transaction, so no concurrent correction is overwritten.
        Deleted faces are ignored.
        """
        ...

    def assign(self, character_of: Mapping[int, int]) -> int:
        """Assign faces without a character (region -> character); returns how many were. Rejected pairs are ignored."""
        ...


class CorrectionRepository(Protocol):
    """Corrections of characters by people. Each method is one durable transaction and returns the id of the correction.

    Unknown ids raise NothingFound. A correction can be undone until a later one touches the same characters or faces.
    """

    def set_name(self, character_id: int, name: str) -> int:
        """Name a character; "" deletes the name. Raises UsageError if another character has it."""
        ...

    def create_character(self, name: str, regions: Collection[int]) -> tuple[int, int]:
        """Create a character with these faces, confirmed; returns the correction and the character.

        Raises UsageError if another character has the name.
        """
        ...

    def set_hidden(self, character_id: int, hidden: bool) -> int:
        """Hide a character from lists and suggestions, or show it again."""
        ...

    def set_threshold(self, character_id: int, threshold: float | None) -> int:
        """The cosine from which a new face is assigned to this character; None = as in the settings."""
        ...

    def merge(self, into: int, others: Sequence[int]) -> int:
        """Move the faces and labels of `others` to `into`, which keeps its name or takes the first of theirs."""
        ...

    def split(self, character_id: int, groups: Sequence[Collection[int]]) -> tuple[int, list[int]]:
        """Move each group of faces to a new character; returns the correction and the characters.

        No clustering merges the parts again, and no suggestion proposes it.
        """
        ...

    def confirm(self, character_id: int, regions: Collection[int]) -> int:
        """These faces are this character's, whatever a clustering finds."""
        ...

    def reject(self, character_id: int, regions: Collection[int]) -> int:
        """These faces are not this character's, and are never assigned to it again."""
        ...

    def keep_apart(self, one: int, other: int) -> int:
        """These characters are not the same, and are never suggested to be."""
        ...

    def history(self, limit: int, *, before: int | None = None) -> list[CorrectionRow]:
        """The latest corrections, newest first; only those with an id below `before`."""
        ...

    def describe(self, number: int) -> str:
        """What a correction did, as the end of a sentence."""
        ...

    def undo(self, number: int | None = None) -> CorrectionRow:
        """Undo a correction (None = the latest) and record that.

        Raises NothingFound if there is none, and UsageError if it is undone already or a later correction depends on it.
        """
        ...
