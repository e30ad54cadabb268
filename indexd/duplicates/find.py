"""The whole question about duplicates: which groups there are, which picture of each to keep, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import numpy as np

from indexd.duplicates.keeper import keep_file, keep_picture
from indexd.duplicates.likeness import Looks, shares
from indexd.duplicates.near import near_groups
from indexd.duplicates.similar import LAYER, cosines, similar_groups
from indexd.layers.description import THUMBNAIL
from indexd.search.language import parse
from indexd.search.present import present_file
from indexd.store.index import Store
from indexd.store.records import FileRow, ImageRow
from indexd.watch.paths import display
from indexd_schemas.library import (
    DuplicateGroup,
    DuplicateKind,
    DuplicateKindCount,
    DuplicateMember,
    Duplicates,
    DuplicatesQuestion,
)

Likeness = Callable[[int, Sequence[int]], dict[int, float]]


def find_duplicates(store: Store, question: DuplicatesQuestion) -> Duplicates:
    """The groups of each kind asked for, largest first. Raises UsageError for a filter that is none."""
    began = time.perf_counter()
    among = store.filters.ids(parse(question.filters))
    groups: list[DuplicateGroup] = []
    found: list[DuplicateKindCount] = []
    notes: list[str] = []
    for kind in dict.fromkeys(question.kinds):
        every, listed = _KINDS[kind](store, among, question, notes)
        every.sort(key=lambda one: (-one[0], min(one[1])))
        found.append(DuplicateKindCount(kind=kind, groups=len(every), members=sum(size for size, _ in every)))
        groups += (group for _, ids in every[: question.limit] if (group := listed(ids)) is not None)
    return Duplicates(groups=groups, found=found, seconds=round(time.perf_counter() - began, 6), notes=notes)


# Groups as (how many members, their image ids), and what makes one that is listed.
_Found = tuple[list[tuple[int, list[int]]], Callable[[list[int]], "DuplicateGroup | None"]]


def _same(store: Store, among: Collection[int] | None, _question: DuplicatesQuestion, _notes: list[str]) -> _Found:
    copied = store.walks.copied().items()
    groups = [(count, [image_id]) for image_id, count in copied if among is None or image_id in among]

    def listed(ids: list[int]) -> DuplicateGroup | None:
        row = store.images.get(ids[0])
        files = _present(row) if row is not None else []
        if row is None or len(files) < 2:
            return None
        kept, reason = keep_file(files)
        ordered = [kept, *(file for file in files if file is not kept)]
        members = [_member(row, file, file is kept, 1.0) for file in ordered]
        return _group("same", reason, members)

    return groups, listed


def _near(store: Store, among: Collection[int] | None, _question: DuplicatesQuestion, notes: list[str]) -> _Found:
    pictures = store.picture_hashes.present(among)
    groups = [(len(group), [int(pictures.ids[row]) for row in group]) for group in near_groups(pictures)]
    states = store.work.counts().get(THUMBNAIL, {})
    if waiting := states.get("waiting", 0) + states.get("running", 0):
        notes.append(f"{waiting} pictures of the library have no hash yet, and were not compared by look")
    if plain := store.picture_hashes.counts()[1]:
        notes.append(
            f"{plain} pictures of the library are too plain (flat, black, a mere gradient) to be compared by look"
        )
    looks = Looks.of(pictures)

    def likeness(kept: int, ids: Sequence[int]) -> dict[int, float]:
        rows = np.searchsorted(pictures.ids, np.array([kept, *ids]))
        apart = shares(looks, np.full(len(ids), rows[0]), rows[1:])
        return {image_id: 1.0 - float(one) for image_id, one in zip(ids, apart, strict=True)}

    return groups, lambda ids: _of_pictures(store, "near", ids, likeness)


def _similar(store: Store, among: Collection[int] | None, question: DuplicatesQuestion, notes: list[str]) -> _Found:
    if store.vectors.active(LAYER) is None:
        notes.append(f"no picture has a {LAYER} vector yet, and none was compared by what it shows")
        return [], lambda _ids: None

    def likeness(kept: int, ids: Sequence[int]) -> dict[int, float]:
        found = np.nan_to_num(cosines(store, np.full(len(ids), kept), np.array(ids)))
        return {image_id: float(one) for image_id, one in zip(ids, found, strict=True)}

    groups = [(len(group), group) for group in similar_groups(store, among, question.threshold)]
    return groups, lambda ids: _of_pictures(store, "similar", ids, likeness)


_KINDS: dict[DuplicateKind, Callable[[Store, Collection[int] | None, DuplicatesQuestion, list[str]], _Found]] = {
    "same": _same,
    "near": _near,
    "similar": _similar,
}


def _of_pictures(store: Store, kind: DuplicateKind, ids: list[int], likeness: Likeness) -> DuplicateGroup | None:
    found = store.images.rows(ids)
    rows = [found[image_id] for image_id in ids if image_id in found]
    if len(rows) < 2:
        return None
    kept, reason = keep_picture(rows)
    others = [row for row in rows if row.id != kept.id]
    near = likeness(kept.id, [row.id for row in others])
    others.sort(key=lambda row: (-near[row.id], row.id))
    members = [_member(kept, present_file(kept), True, 1.0)]
    members += (_member(row, present_file(row), False, near[row.id]) for row in others)
    return _group(kind, reason, members)


def _present(row: ImageRow) -> list[FileRow]:
    return [file for file in row.files if file.missing_since is None]


def _member(row: ImageRow, file: FileRow | None, keep: bool, likeness: float) -> DuplicateMember:
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
        likeness=round(likeness, 4),
    )


def _group(kind: DuplicateKind, reason: str, members: list[DuplicateMember]) -> DuplicateGroup:
    spare = sum(member.byte_count for member in members if not member.keep)
    return DuplicateGroup(kind=kind, reason=reason, spare_bytes=spare, members=members)
