"""What people say of faces is kept whatever a clustering decides, and every correction can be undone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.errors import NothingFound, UsageError
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER, FaceAssignments
from indexd.worker.calls import FoundRegion
from tests.unit.store.sample_rows import Library

DIM = 8


class Faces:
    """Pictures with one face each, and what is said of them in short."""

    def __init__(self, store: IndexStore, library: Library, count: int = 12) -> None:
        self.store = store
        self.images = [library.add(f"{number}.png", stages=(FACE_LAYER,)) for number in range(count)]
        revision = store.faces.activate("model/1", DIM, "eyes/1")
        rows = np.eye(DIM, dtype=np.float32)[np.arange(count) % DIM]
        found = {image: [region(row)] for row, image in enumerate(self.images)}
        store.faces.put(revision, found, rows)
        self.ids = np.array([store.faces.of_image(image)[0].id for image in self.images])

    def cluster(self, groups: Sequence[int]) -> tuple[int, ...]:
        """Settle: 0 nobody, negative = new."""
        after = np.zeros(len(self.ids), np.int64)
        after[: len(groups)] = groups

        def decide(known: FaceAssignments) -> NDArray[np.int64]:
            return np.where(known.confirmed, known.character, after)

        return self.store.characters.apply_clustering(self.ids, decide).created

    def whose(self) -> list[int]:
        members = self.store.characters.memberships_by_region(self.ids.tolist())
        return [members[one].character_id if one in members else 0 for one in self.ids.tolist()]


def region(row: int, left: float = 0.1) -> FoundRegion:
    return FoundRegion(
        "face", "eyes/1", left, 0.1, 0.2, 0.2, confidence=0.9, size_px=80, sharpness=5, quality=0.5, row=row
    )


@pytest.fixture
def faces(store: IndexStore, library: Library) -> Faces:
    return Faces(store, library)


def test_a_clustering_makes_characters_and_moves_faces(store: IndexStore, faces: Faces) -> None:
    heard: list[set[int]] = []
    store.characters.subscribe(lambda those: heard.append(set(those)))
    one, two = faces.cluster([-1, -1, -1, -2, -2, 0])
    assert faces.whose() == [one, one, one, two, two] + [0] * 7
    assert heard == [{one, two}]
    rows = store.characters.rows()
    assert [(row.id, row.faces, row.images, row.name, row.curated) for row in rows] == [
        (one, 3, 3, None, False),
        (two, 2, 2, None, False),
    ]
    assert faces.cluster([one, one, two, two, 0]) == ()
    assert faces.whose()[:5] == [one, one, two, two, 0]


def test_names_are_unique_without_case_and_lead_to_the_character(store: IndexStore, faces: Faces) -> None:
    one, two = faces.cluster([-1, -1, -2, -2])
    store.corrections.set_name(one, " Lúna ")
    found = store.characters.find_by_name("LU\u0301NA")
    assert found is not None
    assert (found.id, found.name, found.curated) == (one, "Lúna", True)
    with pytest.raises(UsageError, match=f"character {one} is named lúna already; .*merge {one} {two}"):
        store.corrections.set_name(two, "lúna")
    store.corrections.set_name(one, "")
    store.corrections.set_name(two, "lúna")
    with pytest.raises(NothingFound, match="there is no character 99"):
        store.corrections.set_name(99, "x")


def test_a_merge_takes_faces_and_words_along_and_comes_apart_again(store: IndexStore, faces: Faces) -> None:
    one, two = faces.cluster([-1, -1, -2, -2, -2])
    ids = faces.ids.tolist()
    store.corrections.set_name(two, "Luna")
    store.corrections.confirm(two, [ids[2]])
    store.corrections.reject(two, [ids[5], ids[4]])
    store.corrections.reject(one, [ids[6]])
    number = store.corrections.merge(one, [two])
    assert faces.whose()[:5] == [one, one, one, one, 0]
    merged = store.characters.get(one)
    assert merged is not None
    assert (merged.name, merged.curated, merged.confirmed) == ("Luna", True, 1)
    assert store.characters.rejections(ids) == {ids[4]: {one}, ids[5]: {one}, ids[6]: {one}}
    with pytest.raises(UsageError, match=f"character {two} was merged into {one}"):
        store.corrections.set_name(two, "x")
    assert store.corrections.undo().id == number
    assert faces.whose()[:5] == [one, one, two, two, 0]
    apart = store.characters.get(two)
    assert apart is not None
    assert (apart.name, apart.confirmed) == ("Luna", 1)
    assert store.characters.rejections(ids) == {ids[4]: {two}, ids[5]: {two}, ids[6]: {one}}


def test_a_character_can_be_made_of_one_face(store: IndexStore, faces: Faces) -> None:
    (one,) = faces.cluster([-1] * 4)
    ids = faces.ids.tolist()
    number, made = store.corrections.create_character("Mara", [ids[0], ids[6]])
    assert faces.whose()[:7] == [made, one, one, one, 0, 0, made]
    mara = store.characters.find_by_name("mara")
    assert mara is not None
    assert (mara.id, mara.faces, mara.confirmed, mara.curated) == (made, 2, 2, True)
    with pytest.raises(
        UsageError, match=f"named MARA already; if both are the same one, run `indexd characters confirm {made} "
    ):
        store.corrections.create_character("MARA", [ids[1]])
    with pytest.raises(NothingFound, match="there is no face 9999"):
        store.corrections.create_character("Nora", [9999])
    assert store.characters.assign({ids[7]: made}) == 1
    store.corrections.undo(number)
    # It is as if it had never been: what came to it since is nobody's.
    assert faces.whose()[:8] == [one, one, one, one, 0, 0, 0, 0]
    assert store.characters.find_by_name("mara") is None
    assert [row.id for row in store.characters.rows()] == [one]


def test_a_split_makes_characters_that_are_not_suggested_as_one_again(store: IndexStore, faces: Faces) -> None:
    (one,) = faces.cluster([-1] * 6)
    ids = faces.ids.tolist()
    number, made = store.corrections.split(one, [ids[:2], ids[2:4]])
    assert faces.whose()[:6] == [made[0]] * 2 + [made[1]] * 2 + [one] * 2
    assert store.characters.separated_pairs() == {(one, made[0]), (one, made[1]), (made[0], made[1])}
    assert store.characters.rejections(ids)[ids[0]] == {one}
    assert store.characters.assign({ids[7]: made[0]}) == 1
    assert store.corrections.undo(number).id == number
    # What came to a part since goes where it would have gone.
    assert faces.whose()[:8] == [one] * 6 + [0, one]
    assert store.characters.separated_pairs() == set()
    with pytest.raises(UsageError, match=f"face {ids[9]} does not belong to"):
        store.corrections.split(one, [[ids[9]]])
    with pytest.raises(UsageError, match="must leave at least one face"):
        store.corrections.split(one, [[*ids[:6], ids[7]]])


def test_a_confirmed_face_is_at_most_one_characters_and_a_rejected_one_never_comes_back(
    store: IndexStore, faces: Faces
) -> None:
    one, two = faces.cluster([-1, -1, -2, -2])
    ids = faces.ids.tolist()
    store.corrections.confirm(one, [ids[2]])
    store.corrections.confirm(two, [ids[2]])
    assert faces.whose()[2] == two
    faces.cluster([one, one, one, one])
    assert faces.whose()[:4] == [one, one, two, one]
    store.corrections.reject(one, [ids[3]])
    assert faces.whose()[3] == 0
    assert store.characters.assign({ids[3]: one, ids[4]: one}) == 1
    assert faces.whose()[3:5] == [0, one]
    store.corrections.undo()
    store.corrections.undo()
    assert faces.whose()[:4] == [one, one, one, one]
    with pytest.raises(NothingFound, match="there is no face 999"):
        store.corrections.reject(one, [999])


def test_what_a_later_correction_stands_on_is_not_undone_before_it(store: IndexStore, faces: Faces) -> None:
    one, two, three = faces.cluster([-1, -1, -2, -2, -3, -3])
    merge = store.corrections.merge(one, [two])
    name = store.corrections.set_name(one, "Luna")
    other = store.corrections.set_name(three, "Mara")
    with pytest.raises(UsageError, match=f"correction {name} depends on it"):
        store.corrections.undo(merge)
    store.corrections.undo(other)
    store.corrections.undo(name)
    store.corrections.undo(merge)
    assert faces.whose()[:6] == [one, one, two, two, three, three]
    with pytest.raises(UsageError, match="undone already"):
        store.corrections.undo(merge)
    with pytest.raises(NothingFound, match="nothing to undo"):
        store.corrections.undo()
    log = store.corrections.history(10)
    assert [entry.kind for entry in log] == ["undo", "undo", "undo", "name", "name", "merge"]
    assert log[2].text == f"undid {other}: named {three} Mara"


def test_hiding_and_thresholds_are_corrections_too(store: IndexStore, faces: Faces) -> None:
    (one,) = faces.cluster([-1, -1])
    store.corrections.set_hidden(one, True)
    assert store.characters.rows() == []
    assert [row.id for row in store.characters.rows(hidden=True)] == [one]
    store.corrections.set_threshold(one, 0.9)
    assert store.characters.thresholds() == {one: 0.9}
    with pytest.raises(UsageError, match="from 0 to 1"):
        store.corrections.set_threshold(one, 1.5)
    store.corrections.undo()
    store.corrections.undo()
    assert store.characters.thresholds() == {}
    assert [row.id for row in store.characters.rows()] == [one]


def test_what_was_said_of_a_forgotten_picture_comes_back_with_it(
    store: IndexStore, library: Library, faces: Faces
) -> None:
    one, two = faces.cluster([-1, -1, -2])
    ids = faces.ids.tolist()
    store.corrections.set_name(one, "Luna")
    store.corrections.confirm(one, [ids[0]])
    store.corrections.reject(two, [ids[0]])
    store.files.mark_missing(library.root.id, [b"0.png"], 5.0)
    (gone,) = store.forgetter.missing_files(float("inf"))
    store.forgetter.forget([gone], [faces.images[0]])
    assert store.characters.memberships_by_region([ids[0]]) == {}
    again = library.add("0.png", stages=(FACE_LAYER,))
    revision = store.vectors.active_revision(FACE_LAYER)
    assert revision is not None
    vector = np.eye(DIM, dtype=np.float32)[:2]
    # Elsewhere in the picture: not that face. Then near its place: that face.
    store.faces.put(revision.id, {again: [region(0, left=0.6)]}, vector[:1])
    other = store.faces.of_image(again)[0].id
    assert store.characters.memberships_by_region([other]) == {}
    store.faces.put(revision.id, {again: [region(0, left=0.6), region(1, left=0.12)]}, vector)
    back = next(row.id for row in store.faces.of_image(again) if row.id != other)
    member = store.characters.memberships_by_region([back])[back]
    assert (member.character_id, member.source) == (one, "confirmed")
    assert store.characters.rejections([back]) == {back: {two}}


def test_an_edited_picture_inherits_what_was_said_of_its_faces(
    store: IndexStore, library: Library, faces: Faces
) -> None:
    one, other = faces.cluster([-1, -1, -1, -2, -2, -2])
    store.corrections.confirm(other, [int(faces.ids[0])])
    store.corrections.reject(one, [int(faces.ids[1])])
    told: list[int] = []
    store.characters.subscribe(told.extend)
    revision = store.vectors.active_revision(FACE_LAYER)
    assert revision is not None
    vectors = np.eye(DIM, dtype=np.float32)[:2]
    # The first edit is looked at before it is compared with what it replaces, the second after.
    early, late = (library.add(f"{number}.png", f"edited {number}", stages=(FACE_LAYER,)) for number in (0, 1))
    assert store.replacements.candidates([early, late]) == {early: [faces.images[0]], late: [faces.images[1]]}
    store.faces.put(revision.id, {early: [region(0, left=0.11)]}, vectors)
    store.replacements.settle({early: {faces.images[0]: True}, late: {faces.images[1]: True}})
    assert set(told) == {other}
    store.faces.put(revision.id, {late: [region(1, left=0.09)]}, vectors)
    heirs = [store.faces.of_image(image)[0].id for image in (early, late)]
    members = store.characters.memberships_by_region(heirs)
    assert (members[heirs[0]].character_id, members[heirs[0]].source) == (other, "confirmed")
    assert store.characters.assign(dict.fromkeys(heirs, one)) == 0
    assert faces.whose()[0] == other
    # Another picture under the same name inherits nothing.
    store.corrections.confirm(other, [int(faces.ids[2])])
    stranger = library.add("2.png", "another", stages=(FACE_LAYER,))
    store.replacements.settle({stranger: {faces.images[2]: False}})
    store.faces.put(revision.id, {stranger: [region(0)]}, vectors)
    assert store.characters.memberships_by_region([store.faces.of_image(stranger)[0].id]) == {}
