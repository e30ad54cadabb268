"""Operations on characters of an open index: list, show, correct, suggest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import Floats, Ids
from indexd.characters.lookup import find_character, find_face_ids, validate_character_name
from indexd.characters.prototype_matcher import select_prototype_faces
from indexd.characters.prototypes import compute_prototypes, nearest_similarity
from indexd.characters.sample_strategies import choose_sample
from indexd.characters.similarity_groups import group_by_similarity
from indexd.characters.suggestions import find_merge_candidates, find_two_cores
from indexd.errors import UsageError
from indexd.fs.paths import display
from indexd.search.serialization import find_present_file, serialize_region
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER, CharacterRow, FaceMembership, RegionRow
from indexd_schemas.api.characters import (
    Character,
    CharacterFace,
    CharacterList,
    CharacterListRequest,
    CharacterRequest,
    CorrectionLog,
    CorrectionRequest,
    CorrectionResult,
    LoggedCorrection,
    ShownCharacter,
    SuggestedMerge,
    SuggestedSplit,
    Suggestions,
)
from indexd_schemas.api.output import ImageRegion


def serialize_character(row: CharacterRow) -> Character:
    return Character(
        id=row.id,
        name=row.name,
        faces=row.faces,
        images=row.images,
        confirmed=row.confirmed,
        curated=row.curated,
        hidden=row.hidden,
        threshold=row.threshold,
    )


def list_characters(store: IndexStore, request: CharacterListRequest) -> CharacterList:
    """See Operations."""
    rows = store.characters.rows(hidden=request.hidden)
    faces = store.faces.counts().get(FACE_LAYER, 0)
    owned = sum(row.faces for row in store.characters.rows(hidden=True))
    return CharacterList(
        characters=[serialize_character(row) for row in rows], faces=faces, unassigned=max(faces - owned, 0)
    )


def show_character(store: IndexStore, request: CharacterRequest) -> ShownCharacter:
    """See Operations."""
    row = find_character(store, request.character)
    members = {member.region_id: member for member in store.characters.members([row.id])}
    ids, rows = load_face_vectors(store, members)
    chosen = choose_sample(request.strategy, request.limit, rows, load_face_qualities(store, ids))
    near = nearest_similarity(rows[chosen], compute_prototypes(rows)) if len(chosen) else np.zeros(0, np.float32)
    similarities = dict(zip(ids[chosen].tolist(), near.tolist(), strict=True))
    # Faces without a vector come last.
    wanted = [*similarities, *sorted(members.keys() - set(ids.tolist()))][: request.limit]
    return ShownCharacter(
        character=serialize_character(row), faces=_serialize_faces(store, wanted, members, similarities)
    )


def serialize_regions(store: IndexStore, rows: Sequence[RegionRow]) -> list[ImageRegion]:
    """Regions with the characters of their faces."""
    members, names = store.characters.memberships_by_region([row.id for row in rows]), store.characters.names()
    serialized = []
    for row in rows:
        owner = members[row.id].character_id if row.id in members else None
        serialized.append(
            serialize_region(row).model_copy(update={"character": owner, "character_name": names.get(owner or 0)})
        )
    return serialized


def apply_correction(store: IndexStore, correction: CorrectionRequest) -> CorrectionResult:
    """See Operations."""
    if correction.kind == "undo":
        undone = store.corrections.undo(correction.number)
        return CorrectionResult(number=undone.id, text=f"undid {undone.id}: {undone.text}")
    if correction.kind == "new":
        number, new = store.corrections.create_character(
            validate_character_name(correction.name), find_face_ids(store, correction.faces)
        )
        return _correction_result(store, number, [new])
    if correction.character is None:
        raise UsageError("give the name or the number of the character")
    one = find_character(store, correction.character)
    made: list[int] = []
    match correction.kind:
        case "name":
            number = store.corrections.set_name(one.id, validate_character_name(correction.name))
        case "merge":
            number = store.corrections.merge(one.id, [find_character(store, text).id for text in correction.others])
        case "split":
            number, made = store.corrections.split(one.id, _split_groups(store, one, correction))
        case "confirm":
            number = store.corrections.confirm(one.id, find_face_ids(store, correction.faces))
        case "reject":
            number = store.corrections.reject(one.id, find_face_ids(store, correction.faces, character_id=one.id))
        case "hide" | "show":
            number = store.corrections.set_hidden(one.id, correction.kind == "hide")
        case "threshold":
            number = store.corrections.set_threshold(one.id, correction.at)
        case "apart":
            number = store.corrections.keep_apart(one.id, _single_other(store, one, correction))
    return _correction_result(store, number, made)


def _correction_result(store: IndexStore, number: int, made: list[int]) -> CorrectionResult:
    return CorrectionResult(number=number, text=store.corrections.describe(number), made=made)


def correction_log(store: IndexStore, limit: int, before: int | None = None) -> CorrectionLog:
    """The newest corrections with a number below `before`."""
    return CorrectionLog(
        corrections=[
            LoggedCorrection(number=row.id, at=row.at, kind=row.kind, text=row.text, undone_at=row.undone_at)
            for row in store.corrections.history(limit, before=before)
        ]
    )


def suggest_corrections(store: IndexStore) -> Suggestions:
    """See Operations."""
    shown = {row.id: row for row in store.characters.rows() if row.faces}
    members: dict[int, list[FaceMembership]] = {}
    for member in store.characters.members(shown):
        members.setdefault(member.character_id, []).append(member)
    faces: dict[int, Floats] = {}
    splits = []
    for one, row in shown.items():
        ids = np.array([member.region_id for member in members[one]], np.int64)
        confirmed = np.array([member.source == "confirmed" for member in members[one]], np.bool_)
        read, faces[one] = load_face_vectors(store, select_prototype_faces(ids, confirmed).tolist())
        cores = find_two_cores(faces[one])
        if cores is not None:
            smaller = cores.in_second if cores.in_second.sum() * 2 <= len(cores.in_second) else ~cores.in_second
            splits.append(
                SuggestedSplit(
                    character=serialize_character(row), separation=cores.separation, faces=read[smaller].tolist()
                )
            )
    merges = [
        SuggestedMerge(one=serialize_character(shown[one]), other=serialize_character(shown[other]), similarity=near)
        for one, other, near in find_merge_candidates(faces, store.characters.separated_pairs())
    ]
    return Suggestions(splits=sorted(splits, key=lambda split: -split.separation), merges=merges)


def load_face_vectors(store: IndexStore, regions: Collection[int]) -> tuple[Ids, Floats]:
    """The ascending ids of the regions that have a vector, and the vectors as float32 (n, dim)."""
    read = store.faces.vectors(regions)
    return read.ids, read.vectors.astype(np.float32)


def load_face_qualities(store: IndexStore, ids: Ids) -> NDArray[np.float64]:
    """The stored quality of each region; 0 for an unknown one."""
    rows = store.faces.rows(ids.tolist())
    return np.array([rows[one].region.quality if one in rows else 0.0 for one in ids.tolist()], np.float64)


def _serialize_faces(
    store: IndexStore, regions: Sequence[int], members: Mapping[int, FaceMembership], similarities: Mapping[int, float]
) -> list[CharacterFace]:
    rows = store.faces.rows(regions)
    images = store.images.rows({row.image_id for row in rows.values()})
    found = []
    for one in regions:
        if one not in rows or rows[one].image_id not in images:
            continue
        image, region = images[rows[one].image_id], rows[one].region
        file = find_present_file(image)
        found.append(
            CharacterFace(
                region=one,
                image_id=image.id,
                hash=image.content_hash.hex(),
                path=display(file.path) if file else None,
                box=region.box,
                quality=region.quality,
                similarity=similarities.get(one),
                source=members[one].source,
            )
        )
    return found


def _single_other(store: IndexStore, one: CharacterRow, correction: CorrectionRequest) -> int:
    others = [find_character(store, text).id for text in correction.others]
    if len(others) != 1 or others[0] == one.id:
        raise UsageError("name two different characters")
    return others[0]


def _split_groups(store: IndexStore, one: CharacterRow, correction: CorrectionRequest) -> list[list[int]]:
    """The region ids of each new character that a split creates."""
    if correction.faces:
        if correction.at is not None:
            raise UsageError("split by faces or at a threshold, not both")
        return [find_face_ids(store, correction.faces, character_id=one.id)]
    if correction.at is None:
        raise UsageError("say how to split: give the faces to take out, or a similarity from 0 to 1")
    ids, rows = load_face_vectors(store, [member.region_id for member in store.characters.members([one.id])])
    groups = group_by_similarity(rows, correction.at)
    if len(groups) < 2:
        raise UsageError(f"at {correction.at:g} all faces of {one.name or one.id} stay together; try a higher value")
    return [ids[group].tolist() for group in groups[1:]]
