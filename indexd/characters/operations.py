"""What people ask and say about characters, carried out over an open index."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from indexd.characters.assign import described_from
from indexd.characters.cut import groups_at
from indexd.characters.find import character_name, find_character, find_faces
from indexd.characters.references import closest, references
from indexd.characters.sample import sample
from indexd.characters.suggest import one_in_two, two_cores
from indexd.characters.vectors import Floats, Ids
from indexd.errors import UsageError
from indexd.search.present import present_file, region_of
from indexd.store.characters import CharacterRow, Member
from indexd.store.index import Store
from indexd.store.records import RegionRow
from indexd.store.revisions import FACE
from indexd.watch.paths import display
from indexd_schemas.characters import (
    Character,
    CharacterFace,
    CharacterList,
    CharacterQuestion,
    CharactersQuestion,
    Corrected,
    Correction,
    CorrectionLog,
    LoggedCorrection,
    ShownCharacter,
    SuggestedMerge,
    SuggestedSplit,
    Suggestions,
)
from indexd_schemas.output import Region


def character_of(row: CharacterRow) -> Character:
    """A character as it is told."""
    return Character(
        id=row.id,
        name=row.name,
        faces=row.faces,
        pictures=row.pictures,
        confirmed=row.confirmed,
        kept=row.kept,
        hidden=row.hidden,
        threshold=row.threshold,
    )


def list_characters(store: Store, question: CharactersQuestion) -> CharacterList:
    """See Operations."""
    rows = store.characters.rows(hidden=question.hidden)
    faces = store.faces.counts().get(FACE, 0)
    owned = sum(row.faces for row in store.characters.rows(hidden=True))
    return CharacterList(characters=[character_of(row) for row in rows], faces=faces, unassigned=max(faces - owned, 0))


def show_character(store: Store, question: CharacterQuestion) -> ShownCharacter:
    """See Operations."""
    row = find_character(store, question.character)
    members = {member.region_id: member for member in store.characters.members([row.id])}
    ids, rows = vectors_of(store, members)
    chosen = sample(question.strategy, question.limit, rows, qualities(store, ids))
    near = closest(rows[chosen], references(rows)) if len(chosen) else np.zeros(0, np.float32)
    likeness = dict(zip(ids[chosen].tolist(), near.tolist(), strict=True))
    # Faces whose vector is still to be made again come last.
    wanted = [*likeness, *sorted(members.keys() - set(ids.tolist()))][: question.limit]
    return ShownCharacter(character=character_of(row), faces=_faces(store, wanted, members, likeness))


def regions_with_characters(store: Store, rows: Sequence[RegionRow]) -> list[Region]:
    """Regions as they are told, with whose faces they are."""
    members, names = store.characters.of_regions([row.id for row in rows]), store.characters.names()
    told = []
    for row in rows:
        owner = members[row.id].character_id if row.id in members else None
        told.append(region_of(row).model_copy(update={"character": owner, "character_name": names.get(owner or 0)}))
    return told


def correct(store: Store, correction: Correction) -> Corrected:
    """See Operations."""
    if correction.kind == "undo":
        undone = store.corrections.undo(correction.number)
        return Corrected(number=undone.id, text=f"undid {undone.id}: {undone.text}")
    if correction.kind == "new":
        number, new = store.corrections.new(character_name(correction.name), find_faces(store, correction.faces))
        return _corrected(store, number, [new])
    if correction.character is None:
        raise UsageError("say which character: its name or its number")
    one = find_character(store, correction.character)
    made: list[int] = []
    match correction.kind:
        case "name":
            number = store.corrections.name(one.id, character_name(correction.name))
        case "merge":
            number = store.corrections.merge(one.id, [find_character(store, text).id for text in correction.others])
        case "split":
            number, made = store.corrections.split(one.id, _parts(store, one, correction))
        case "confirm":
            number = store.corrections.confirm(one.id, find_faces(store, correction.faces))
        case "reject":
            number = store.corrections.reject(one.id, find_faces(store, correction.faces, of=one.id))
        case "hide" | "show":
            number = store.corrections.hide(one.id, correction.kind == "hide")
        case "threshold":
            number = store.corrections.threshold(one.id, correction.at)
        case "apart":
            number = store.corrections.keep_apart(one.id, _other(store, one, correction))
    return _corrected(store, number, made)


def _corrected(store: Store, number: int, made: list[int]) -> Corrected:
    return Corrected(number=number, text=store.corrections.text(number), made=made)


def correction_log(store: Store, limit: int) -> CorrectionLog:
    """See Operations."""
    return CorrectionLog(
        corrections=[
            LoggedCorrection(number=row.id, at=row.at, kind=row.kind, text=row.text, undone_at=row.undone_at)
            for row in store.corrections.log(limit)
        ]
    )


def suggest(store: Store) -> Suggestions:
    """See Operations."""
    shown = {row.id: row for row in store.characters.rows() if row.faces}
    members: dict[int, list[Member]] = {}
    for member in store.characters.members(shown):
        members.setdefault(member.character_id, []).append(member)
    faces: dict[int, Floats] = {}
    splits = []
    for one, row in shown.items():
        ids = np.array([member.region_id for member in members[one]], np.int64)
        sure = np.array([member.source == "confirmed" for member in members[one]], np.bool_)
        read, faces[one] = vectors_of(store, described_from(ids, sure).tolist())
        cores = two_cores(faces[one])
        if cores is not None:
            smaller = cores.side if cores.side.sum() * 2 <= len(cores.side) else ~cores.side
            splits.append(SuggestedSplit(character=character_of(row), apart=cores.apart, faces=read[smaller].tolist()))
    merges = [
        SuggestedMerge(one=character_of(shown[one]), other=character_of(shown[other]), likeness=near)
        for one, other, near in one_in_two(faces, store.characters.apart())
    ]
    return Suggestions(splits=sorted(splits, key=lambda split: -split.apart), merges=merges)


def vectors_of(store: Store, regions: Collection[int]) -> tuple[Ids, Floats]:
    """The faces among these that have a vector, by rising id, and their vectors in single precision."""
    read = store.faces.vectors(regions)
    return read.ids, read.vectors.astype(np.float32)


def qualities(store: Store, ids: Ids) -> NDArray[np.float64]:
    """How good a picture of its face each region is."""
    rows = store.faces.rows(ids.tolist())
    return np.array([rows[one].region.quality if one in rows else 0.0 for one in ids.tolist()], np.float64)


def _faces(
    store: Store, regions: Sequence[int], members: Mapping[int, Member], likeness: Mapping[int, float]
) -> list[CharacterFace]:
    rows = store.faces.rows(regions)
    images = store.images.rows({row.image_id for row in rows.values()})
    found = []
    for one in regions:
        if one not in rows or rows[one].image_id not in images:
            continue
        image, region = images[rows[one].image_id], rows[one].region
        file = present_file(image)
        found.append(
            CharacterFace(
                region=one,
                image_id=image.id,
                hash=image.content_hash.hex(),
                path=display(file.path) if file else None,
                box=region.box,
                quality=region.quality,
                likeness=likeness.get(one),
                source=members[one].source,
            )
        )
    return found


def _other(store: Store, one: CharacterRow, correction: Correction) -> int:
    others = [find_character(store, text).id for text in correction.others]
    if len(others) != 1 or others[0] == one.id:
        raise UsageError("name two different characters")
    return others[0]


def _parts(store: Store, one: CharacterRow, correction: Correction) -> list[list[int]]:
    """The faces that a split takes out, by the characters that they are to be."""
    if correction.faces:
        if correction.at is not None:
            raise UsageError("split by faces or at a threshold, not both")
        return [find_faces(store, correction.faces, of=one.id)]
    if correction.at is None:
        raise UsageError("say how to split: the faces to take out, or at which likeness (0 to 1)")
    ids, rows = vectors_of(store, [member.region_id for member in store.characters.members([one.id])])
    groups = groups_at(rows, correction.at)
    if len(groups) < 2:
        raise UsageError(f"at {correction.at:g} all faces of {one.name or one.id} stay together; try a higher one")
    return [ids[group].tolist() for group in groups[1:]]
