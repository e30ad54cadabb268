"""Repositories of annotations: what people enter about images. Annotations belong to the content, so they survive moves and copies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from indexd.image_metadata.model import PhotoAnnotations
from indexd.store.records import AnnotationSet, ExportedAnnotations, FaceLabel, ImportResult
from indexd_schemas.settings import SuggestionMode


class AnnotationRepository(Protocol):
    """Ratings, tags and notes. Unknown ids are ignored; methods return how many images were annotated."""

    def rate(self, ids: Iterable[int], rating: int) -> int:
        """Rate images with 1 to 5 stars; 0 deletes the rating."""
        ...

    def tag(self, ids: Iterable[int], add: Sequence[str] = (), remove: Sequence[str] = ()) -> int:
        """Add and remove tags. Tags are compared without case; the spelling used first in the index stays.

        In `remove`, `*` matches any text: `style/*` removes everything below `style`.
        """
        ...

    def set_suggestion_mode(self, mode: SuggestionMode) -> None:
        """Follow the setting of ratings and keywords of other programs, which `Images.ingest` stores.

        "off" deletes them; "take" makes ratings and tags of those that were only shown. Call it when the daemon starts.
        """
        ...

    def suggest(self, stated: Mapping[int, PhotoAnnotations], mode: SuggestionMode) -> None:
        """Replace the ratings and keywords that the files of these images state."""
        ...

    def note(self, ids: Iterable[int], text: str | None, *, append: bool = False) -> int:
        """Set the note of images; an empty text or None deletes it. `append` adds a line to the present note."""
        ...


class AnnotationExchangeRepository(Protocol):
    """Export and import of annotations by content hash."""

    def export_page(
        self, cursor: str, limit: int, among: Collection[int] | None = None
    ) -> tuple[list[ExportedAnnotations], str | None]:
        """At most `limit` annotated contents after `cursor` ("" = from the start), and the next cursor or None.

        `among` restricts the export to these images and leaves out pending annotations.
        """
        ...

    def import_annotations(
        self,
        given: Mapping[bytes, AnnotationSet],
        faces: Mapping[bytes, Collection[FaceLabel]] | None = None,
        *,
        prefer_given: bool = False,
        dry_run: bool = False,
    ) -> ImportResult:
        """Merge annotations and face labels, by content hash. Those of unknown contents stay pending.

        `prefer_given`: a given value wins over the stored one, whatever their times.
        """
        ...

    def count_pending(self) -> int:
        """How many contents that are not in the index have pending annotations."""
        ...


class ReplacementRepository(Protocol):
    """Images that replaced annotated images at their paths, until their pixels are compared."""

    def candidates(self, new_ids: Iterable[int]) -> dict[int, list[int]]:
        """For each of these images, the images that it replaced and is still to be compared with."""
        ...

    def settle(self, verdicts: Mapping[int, Mapping[int, bool]]) -> int:
        """Store verdicts: for each new image and each candidate, whether they show the same. Returns how many images were annotated.

        If they do, the annotations and face labels of the candidate are merged into those of the new image; the candidate
        keeps its own. The candidates and the finished index tasks are deleted in the same transaction.
        """
        ...
