"""Finds the duplicates of a request, and suggests which image of each group to keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from indexd.duplicates.copy_groups import (
    MAX_PAIRS,
    CompareFunction,
    CopiesAndVariations,
    find_copies,
    settings_of_variations,
)
from indexd.duplicates.hash_similarity import HashArrays, bit_difference_shares
from indexd.duplicates.keep_choice import choose_file_to_keep, choose_image_to_keep
from indexd.duplicates.similar_images import LAYER, pair_cosines, similar_image_groups
from indexd.fs.paths import display
from indexd.indexing.stages import THUMBNAIL
from indexd.search.query.filter_language import parse_filters
from indexd.search.serialization import find_present_file
from indexd.store.protocols import IndexStore
from indexd.store.records import FileRow, HashedImages, ImageRow
from indexd_schemas.api.library_reports import (
    DuplicateGroup,
    DuplicateKind,
    DuplicateKindCount,
    DuplicateMember,
    DuplicatesReport,
    DuplicatesRequest,
)

SimilarityTo = Callable[[int, Sequence[int]], dict[int, float]]


def find_duplicates(
    store: IndexStore, request: DuplicatesRequest, compare: CompareFunction, thumbnails: str
) -> DuplicatesReport:
    """The groups of each requested kind, largest first. `compare` compares pixels in a worker.

    Raises UsageError for an invalid filter, and what `compare` raises.
    """
    started = time.perf_counter()
    allowed_ids = store.filters.ids(parse_filters(request.filters))
    groups: list[DuplicateGroup] = []
    counts: list[DuplicateKindCount] = []
    search = _Search(compare, thumbnails)
    for kind in dict.fromkeys(request.kinds):
        all_groups, build = _GROUPERS[kind](store, allowed_ids, request, search)
        all_groups.sort(key=lambda one: (-one[0], min(one[1])))
        counts.append(
            DuplicateKindCount(kind=kind, groups=len(all_groups), members=sum(size for size, _ in all_groups))
        )
        groups += (group for _, ids in all_groups[: request.limit] if (group := build(ids)) is not None)
    return DuplicatesReport(
        groups=groups, found=counts, seconds=round(time.perf_counter() - started, 6), notes=search.notes
    )


# Groups as (number of members, image ids), and the function that builds the group of a report.
_GroupsAndBuilder = tuple[list[tuple[int, list[int]]], Callable[[list[int]], "DuplicateGroup | None"]]


def _same_groups(
    store: IndexStore, allowed_ids: Collection[int] | None, _request: DuplicatesRequest, _search: _Search
) -> _GroupsAndBuilder:
    copy_counts = store.bulk_reader.copy_counts().items()
    groups = [(count, [image_id]) for image_id, count in copy_counts if allowed_ids is None or image_id in allowed_ids]

    def build(ids: list[int]) -> DuplicateGroup | None:
        row = store.images.get(ids[0])
        files = _present_files(row) if row is not None else []
        if row is None or len(files) < 2:
            return None
        kept, reason = choose_file_to_keep(files)
        ordered = [kept, *(file for file in files if file is not kept)]
        members = [_serialize_member(row, file, file is kept, 1.0) for file in ordered]
        return _serialize_group("same", reason, members)

    return groups, build


def _near_groups(
    store: IndexStore, allowed_ids: Collection[int] | None, request: DuplicatesRequest, search: _Search
) -> _GroupsAndBuilder:
    found, similarities = search.copies(store, allowed_ids)
    if "variations" not in request.kinds and found.variations:
        search.notes.append(
            f"{len(found.variations)} groups of images look alike and are no copies; --variations lists them"
        )
    groups = [(len(group), group) for group in found.copies]
    return groups, lambda ids: _build_group(store, "near", ids, similarities)


def _variation_groups(
    store: IndexStore, allowed_ids: Collection[int] | None, _request: DuplicatesRequest, search: _Search
) -> _GroupsAndBuilder:
    found, similarities = search.copies(store, allowed_ids)
    groups = [(len(group), group) for group in found.variations]
    return groups, lambda ids: _build_variations(store, ids, similarities)


@dataclass(slots=True)
class _Search:
    """What the kinds of one request share: the comparison of pixels, its result, and the notes of the report."""

    compare: CompareFunction
    thumbnails: str
    notes: list[str] = field(default_factory=list)
    _copies: tuple[CopiesAndVariations, SimilarityTo] | None = None

    def copies(
        self, store: IndexStore, allowed_ids: Collection[int] | None
    ) -> tuple[CopiesAndVariations, SimilarityTo]:
        """Copies and variations, and the similarity of hashes; compared once for both kinds."""
        if self._copies is None:
            images = store.perceptual_hashes.present(allowed_ids)
            found = find_copies(store, images, self.compare, self.thumbnails)
            self.notes += _notes_on_hashes(store)
            if found.not_compared:
                self.notes.append(
                    f"{found.not_compared} pairs that look alike were not compared: a file and its thumbnail are missing,"
                    f" or there are more than {MAX_PAIRS}; filters narrow the search"
                )
            self._copies = found, _hash_similarities(images)
        return self._copies


def _notes_on_hashes(store: IndexStore) -> Iterator[str]:
    states = store.index_tasks.counts().get(THUMBNAIL, {})
    if pending := states.get("pending", 0) + states.get("running", 0):
        yield f"{pending} images of the library have no perceptual hash yet, and were not compared"
    if plain := store.perceptual_hashes.counts()[1]:
        yield f"{plain} images of the library have too little detail to compare (one colour, or a gradient)"


def _hash_similarities(images: HashedImages) -> SimilarityTo:
    hashes = HashArrays.from_rows(images)

    def similarities(kept: int, ids: Sequence[int]) -> dict[int, float]:
        rows = np.searchsorted(images.ids, np.array([kept, *ids]))
        distances = bit_difference_shares(hashes, np.full(len(ids), rows[0]), rows[1:])
        return {image_id: 1.0 - float(distance) for image_id, distance in zip(ids, distances, strict=True)}

    return similarities


def _similar_groups(
    store: IndexStore, allowed_ids: Collection[int] | None, request: DuplicatesRequest, search: _Search
) -> _GroupsAndBuilder:
    if store.vectors.active_revision(LAYER) is None:
        search.notes.append(f"no image has a {LAYER} vector yet, so similar images cannot be found")
        return [], lambda _ids: None

    def similarities(kept: int, ids: Sequence[int]) -> dict[int, float]:
        cosines = np.nan_to_num(pair_cosines(store, np.full(len(ids), kept), np.array(ids)))
        return {image_id: float(cosine) for image_id, cosine in zip(ids, cosines, strict=True)}

    groups = [(len(group), group) for group in similar_image_groups(store, allowed_ids, request.threshold)]
    return groups, lambda ids: _build_group(store, "similar", ids, similarities)


_GROUPERS: dict[
    DuplicateKind, Callable[[IndexStore, Collection[int] | None, DuplicatesRequest, _Search], _GroupsAndBuilder]
] = {
    "same": _same_groups,
    "near": _near_groups,
    "variations": _variation_groups,
    "similar": _similar_groups,
}


def _build_group(
    store: IndexStore, kind: DuplicateKind, ids: list[int], similarity_to: SimilarityTo
) -> DuplicateGroup | None:
    found = store.images.rows(ids)
    rows = [found[image_id] for image_id in ids if image_id in found]
    if len(rows) < 2:
        return None
    kept, reason = choose_image_to_keep(rows)
    others = [row for row in rows if row.id != kept.id]
    near = similarity_to(kept.id, [row.id for row in others])
    others.sort(key=lambda row: (-near[row.id], row.id))
    members = [_serialize_member(kept, find_present_file(kept), True, 1.0)]
    members += (_serialize_member(row, find_present_file(row), False, near[row.id]) for row in others)
    return _serialize_group(kind, reason, members)


def _build_variations(store: IndexStore, ids: list[int], similarity_to: SimilarityTo) -> DuplicateGroup | None:
    """A group in which every image is kept."""
    found = store.images.rows(ids)
    rows = [found[image_id] for image_id in ids if image_id in found]
    if len(rows) < 2:
        return None
    near = similarity_to(rows[0].id, [row.id for row in rows[1:]])
    rows[1:] = sorted(rows[1:], key=lambda row: (-near[row.id], row.id))
    settings = settings_of_variations(rows)
    reason = f"other {', '.join(settings)}" if settings else "other pixels"
    members = [_serialize_member(row, find_present_file(row), True, near.get(row.id, 1.0)) for row in rows]
    return _serialize_group("variations", reason, members)


def _present_files(row: ImageRow) -> list[FileRow]:
    return [file for file in row.files if file.missing_since is None]


def _serialize_member(row: ImageRow, file: FileRow | None, keep: bool, similarity: float) -> DuplicateMember:
    return DuplicateMember(
        keep=keep,
        image_id=row.id,
        hash=row.content_hash.hex(),
        path=display(file.path) if file is not None else None,
        width=row.width,
        height=row.height,
        format=row.format,
        byte_count=row.byte_count,
        modified_at=file.stamp.mtime_ns / 1e9 if file is not None else None,
        rating=row.rating,
        similarity=round(similarity, 4),
    )


def _serialize_group(kind: DuplicateKind, reason: str, members: list[DuplicateMember]) -> DuplicateGroup:
    spare = sum(member.byte_count for member in members if not member.keep)
    return DuplicateGroup(kind=kind, reason=reason, spare_bytes=spare, members=members)
