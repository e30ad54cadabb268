"""Repositories of images and what is known of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from indexd.image_metadata.model import ImageMetadata, RawChunk
from indexd.store.id_set import IdSet
from indexd.store.records import (
    SEARCHED_COLUMNS,
    AttributeRow,
    Filter,
    HashedImages,
    ImageOrder,
    ImageRow,
    ImageTotals,
    IngestResult,
    ScannedFile,
    StageInput,
    TextColumn,
    ValueCount,
)
from indexd.worker.calls import ImageAttribute


class ImageRepository(Protocol):
    """Images by id: one for each content. An id is never used twice. Unknown ids are left out of answers."""

    def ingest(self, scanned_files: Sequence[ScannedFile], now: float) -> list[IngestResult]:
        """Store a batch in one transaction; the results are in the same order.

        A new content becomes an image with index tasks. A known content gets another file. A path with another content
        than before is assigned to the new one. A file that is not an image is stored with its problem.
        """
        ...

    def get(self, image_id: int) -> ImageRow | None:
        """One image."""
        ...

    def get_by_hash(self, content_hash: bytes) -> ImageRow | None:
        """The image with this blake3 hash (32 bytes)."""
        ...

    def find_id(self, content_hash: bytes) -> int | None:
        """The id of the image with this blake3 hash (32 bytes)."""
        ...

    def rows(self, ids: Iterable[int]) -> dict[int, ImageRow]:
        """Images, by id."""
        ...

    def metadata(self, image_id: int) -> ImageMetadata | None:
        """All metadata of an image but its raw chunks; None if there is no such image."""
        ...

    def raw_chunks(self, image_id: int) -> list[RawChunk]:
        """The metadata texts of the file, unchanged and in their order."""
        ...

    def raw_chunks_by_image(self, ids: Iterable[int]) -> dict[int, list[RawChunk]]:
        """The same of several images; images without any are left out."""
        ...

    def prompts(self, ids: Iterable[int], stage_input: StageInput) -> dict[int, str]:
        """The prompts (or negative prompts) that are not blank, by image."""
        ...

    def paths(self, ids: Iterable[int]) -> dict[int, bytes]:
        """One absolute path of a present file for each image that has one, preferably on a root that is online."""
        ...

    def content_hashes(self, ids: Iterable[int]) -> dict[int, bytes]:
        """The content hashes, by image."""
        ...

    def pixel_counts(self, ids: Iterable[int]) -> dict[int, int]:
        """Width times height in pixels, by image."""
        ...

    def find_outdated(self, parser_version: int, after: int, limit: int) -> tuple[list[int], int]:
        """The next `limit` images after the id `after` whose metadata an older parser read, and how many there are in all from there on."""
        ...

    def parse_problems(self, ids: Iterable[int]) -> dict[int, str]:
        """What could not be read of the metadata, by image."""
        ...

    def update_metadata(
        self, metadata_by_image: Mapping[int, ImageMetadata], layers_by_input: Mapping[StageInput, Sequence[str]]
    ) -> int:
        """Replace the metadata of images in one transaction; returns how many changed.

        `layers_by_input` names the layers that embed each text. A changed text is embedded again; if the text is gone,
        its vectors are deleted.
        """
        ...

    def set_decode_problem(self, image_id: int, text: str | None) -> None:
        """Store why the pixels cannot be decoded; None if they can."""
        ...

    def newest_id(self) -> int:
        """The highest id of an image; 0 when there is none."""
        ...

    def count(self) -> int:
        """How many images there are, those without a present file included."""
        ...


class AttributeRepository(Protocol):
    """What index stages state of images: captions, tags, scores."""

    def set_enabled(self, stage: str, *, on: bool) -> None:
        """Switch a stage on or off; harmless when repeated.

        Switched on, the images that were indexed while it was off get their task. What it stated before stays.
        """
        ...

    def identity(self, stage: str) -> str | None:
        """The model revision that stated the attributes of `stage`; None = nothing was stated yet."""
        ...

    def activate(self, stage: str, identity: str, needs: StageInput) -> None:
        """Make `identity` the model revision of `stage`; harmless when repeated.

        For another revision than before, every image is queued again. Its old attributes stay until then.
        """
        ...

    def put(self, stage: str, stated: Mapping[int, Sequence[ImageAttribute]]) -> None:
        """Replace what `stage` states of these images and delete their index tasks: one transaction."""
        ...

    def of_images(self, ids: Iterable[int]) -> dict[int, list[AttributeRow]]:
        """The attributes of these images, by stage and in its order; images without any are left out."""
        ...


class PerceptualHashRepository(Protocol):
    """Perceptual hashes (64 bytes) by image; an empty hash means that the image has too little detail."""

    def activate(self, version: str, stage: str) -> int:
        """Make `version` the version of all hashes; harmless when repeated. Returns how many images were queued.

        A new version deletes the old hashes and queues every image that can be decoded for `stage`.
        """
        ...

    def put(self, stage: str, hashes: Mapping[int, bytes]) -> None:
        """Store hashes (64 bytes or none) and delete the index tasks of `stage`: one transaction. Raises ValueError for another length."""
        ...

    def counts(self) -> tuple[int, int]:
        """How many images have a hash, and how many have too little detail for one."""
        ...

    def present(self, among: Collection[int] | None) -> HashedImages:
        """The hashed images that have a present file, among these (None = all), by ascending id."""
        ...


class FulltextRepository(Protocol):
    """Full-text search over prompts, tags, captions and file names."""

    def match(
        self,
        query: str,
        limit: int,
        among: Collection[int] | None = None,
        columns: Collection[TextColumn] = SEARCHED_COLUMNS,
    ) -> list[tuple[int, float]]:
        """The images that contain every term of `query` in `columns`, best first, with their BM25 scores (greater is better).

        A "quoted phrase" is one term; a trailing `*` matches a prefix. If too many images match to be ranked quickly, the
        newest come first and every score is 0.
        """
        ...

    def texts(self, ids: Collection[int]) -> dict[int, dict[TextColumn, str]]:
        """What each full-text column of these images was made of; tags, captions and several prompts are joined."""
        ...


class FilterRepository(Protocol):
    """The ids of images that match conditions."""

    def ids(self, filters: Sequence[Filter]) -> IdSet | None:
        """The images that match every filter; None if there is no filter."""
        ...

    def sorted_ids(self, order: ImageOrder, among: Collection[int] | None, limit: int) -> list[int]:
        """The first `limit` images (among these; None = all) by creation time, or by rating or a score and then newest first.

        Images without a rating or that score come last.
        """
        ...


class StatisticsRepository(Protocol):
    """Counts over the images `among` (None = all)."""

    def totals(self, among: Collection[int] | None) -> ImageTotals:
        """How many images there are, how they are rated, and their first and last creation times."""
        ...

    def counts_by(self, key: str, among: Collection[int] | None) -> list[ValueCount]:
        """The values of a key, the most frequent first; images without a value are left out.

        Models and LoRAs are counted by file name without folder, ending and hash, samplers and schedules by their names in jobs.
        """
        ...

    def count_with_value(self, key: str, among: Collection[int] | None) -> int:
        """How many images have at least one value of the key."""
        ...

    def prompts(self, among: Collection[int] | None, *, five_stars: bool, rated: bool, limit: int) -> Iterator[str]:
        """At most `limit` prompts, evenly from all images with five stars, or from the others (`rated`: only rated ones)."""
        ...
