"""Face labels survive every clustering, and every correction can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER, FaceAssignments
from indexd.store.sqlite.recovery.backup import write_backup
from indexd.store.sqlite.recovery.rebuild import rebuild
from indexd.store.sqlite.store import SqliteStore
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


def test_a_backup_and_a_recovered_index_keep_all_face_labels(store: IndexStore, faces: Faces, tmp_path: Path) -> None:
    one, two, three = faces.cluster([-1, -1, -1, -2, -2, -3])
    ids = faces.ids.tolist()
    store.corrections.set_name(one, "Luna")
    store.corrections.confirm(one, [ids[8]])
    store.corrections.reject(two, [ids[3]])
    store.corrections.merge(one, [three])
    whose = faces.whose()
    made = write_backup(store.path, tmp_path / "backup.db")
    assert (made.rows["character"], made.rows["face_label"], made.rows["correction"]) == (3, 2, 4)
    rebuild(store.path, tmp_path / "mended.db", None, {}, lambda _: False)
    for path in (tmp_path / "backup.db", tmp_path / "mended.db"):
        with SqliteStore.open(path) as again:
            members = again.characters.memberships_by_region(ids)
            assert [members[face].character_id if face in members else 0 for face in ids] == whose
            luna = again.characters.find_by_name("luna")
            assert luna is not None
            assert (luna.id, luna.faces, luna.confirmed) == (one, 5, 1)
            assert again.characters.rejections(ids) == {ids[3]: {two}}
            # No number is given twice, and what was put right can still be undone.
            fresh = again.characters.apply_clustering(faces.ids[-2:], lambda known: np.full(2, -1)).created
            assert fresh == (4,)
            again.corrections.undo()
            assert again.characters.memberships_by_region([ids[5]])[ids[5]].character_id == three
