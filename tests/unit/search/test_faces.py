"""`--face`: the largest face of an image, stored or detected now, against the faces of the library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.errors import IndexdError, ModelUnavailable
from indexd.search.query.image_target import ImageTarget, format_target, target_of_path
from indexd.search.query.query_embedder import FakeQueryEmbedder
from indexd.search.search import Search
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.calls import Embedded, EmbedImages, EmbedText, FacesFound, FindFaces, FoundRegion
from indexd.worker.fake_workers import seeded_unit_vector
from indexd_schemas.api.output import SearchResults
from indexd_schemas.api.requests import SearchRequest, SearchTerm
from tests.support.sample_library import SampleLibrary, make_library

DIM = 64
EVERY = {"luna": 10, "orion": 15}


def region(place: int, row: int, width: float = 0.3) -> FoundRegion:
    return FoundRegion("face", "eyes/1", 0.5 * place, 0.1, width, width, 0.9, 60, 80.0, 0.8, row)


def toy(call: EmbedText | EmbedImages) -> Embedded:
    raise AssertionError(f"{call} needs no embedding of whole pictures or texts")


def look(call: FindFaces) -> FacesFound:
    """The faces of the persons in a file's name, the first one the largest."""
    name = os.fsdecode(call.paths[0]).rpartition(os.sep)[2]
    seen = sorted((who for who in EVERY if who in name), key=name.index)
    regions = tuple(region(place, place, 0.4 - 0.1 * place) for place, _ in enumerate(seen))
    return FacesFound((regions,), stacked([seeded_unit_vector(who.encode(), DIM) for who in seen]), "toy", "eyes/1")


def stacked(vectors: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack(vectors) if vectors else np.zeros((0, DIM), np.float32)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[SampleLibrary]:
    """120 pictures with Luna in every tenth, Orion in every fifteenth, nobody in every seventh, else a stranger."""
    with SqliteStore.open(tmp_path / "index.db") as store:
        store.faces.set_enabled(on=True)
        library = make_library(store, tmp_path / "pictures", 30)
        revision = store.faces.activate("toy", DIM, "eyes/1")
        for place, image_id in enumerate(library.ids.values()):
            who = [name for name, every in EVERY.items() if place % every == 0]
            names = who or ([] if place % 7 == 0 else [f"stranger {place}"])
            # No face looks twice the same.
            faces = [
                seeded_unit_vector(one.encode(), DIM) + 0.2 * seeded_unit_vector(b"%d" % place, DIM) for one in names
            ]
            vectors = stacked([np.asarray(face / np.linalg.norm(face), np.float32) for face in faces])
            store.faces.put(revision, {image_id: [region(nth, nth) for nth, _ in enumerate(names)]}, vectors)
        yield library


@pytest.fixture
def embed() -> FakeQueryEmbedder:
    return FakeQueryEmbedder(toy, look)


@pytest.fixture
def search(library: SampleLibrary, embed: FakeQueryEmbedder) -> Search:
    return Search(library.store, embed)


def face(target: ImageTarget, weight: float = 1.0) -> SearchTerm:
    return SearchTerm(kind="face", value=format_target(target), weight=weight)


def ids(answer: SearchResults) -> set[int]:
    return {hit.image.id for hit in answer.hits}


def those(library: SampleLibrary, every: int) -> set[int]:
    return {image_id for place, image_id in enumerate(library.ids.values()) if place % every == 0}


def foreign(folder: Path, name: str) -> ImageTarget:
    (folder / name).write_bytes(b"a picture")
    return target_of_path(folder / name)


def test_a_face_of_a_foreign_image_finds_the_person_everywhere(
    search: Search, library: SampleLibrary, tmp_path: Path
) -> None:
    answer = search.query(SearchRequest(terms=(face(foreign(tmp_path, "luna.png")),), limit=40))
    assert ids(answer) == those(library, 10)
    assert answer.hits[0].scores["face"] == pytest.approx(1.0, abs=0.1)


def test_the_largest_face_is_searched(search: Search, library: SampleLibrary, tmp_path: Path) -> None:
    answer = search.query(SearchRequest(terms=(face(foreign(tmp_path, "orion and luna.png")),), limit=30))
    assert ids(answer) == those(library, 15)


def test_an_indexed_image_is_searched_with_its_stored_face(
    search: Search, library: SampleLibrary, embed: FakeQueryEmbedder
) -> None:
    luna_alone = list(library.ids.values())[10]
    answer = search.query(SearchRequest(terms=(face(ImageTarget(image_id=luna_alone)),), limit=40))
    assert ids(answer) == those(library, 10) and answer.hits[0].image.id == luna_alone
    assert embed.calls == []


def test_two_faces_require_both_and_a_face_can_have_a_negative_weight(
    search: Search, library: SampleLibrary, tmp_path: Path
) -> None:
    luna, orion = foreign(tmp_path, "luna.png"), foreign(tmp_path, "orion.png")
    both = search.query(SearchRequest(terms=(face(luna), face(orion)), limit=4))
    assert ids(both) == those(library, 30)
    alone = search.query(SearchRequest(terms=(face(luna), face(orion, -1.0)), limit=8))
    assert ids(alone) == those(library, 10) - those(library, 15)
    without = search.query(SearchRequest(terms=(face(luna, -1.0),), limit=20, everything=True))
    assert not ids(without) & those(library, 10)


def test_filters_restrict_the_hits(search: Search, library: SampleLibrary, tmp_path: Path) -> None:
    luna = face(foreign(tmp_path, "luna.png"))
    assert ids(search.query(SearchRequest(terms=(luna,), filters=("faces:2",), limit=40))) == those(library, 30)
    nobody = search.query(SearchRequest(filters=("faces:0",), limit=200))
    assert ids(nobody) == those(library, 7) - those(library, 10) - those(library, 15)


def test_an_image_without_a_face_is_refused_with_one_sentence(search: Search, tmp_path: Path) -> None:
    with pytest.raises(IndexdError, match=r"no face was found in .*sea\.png; --similar compares whole images"):
        search.query(SearchRequest(terms=(face(foreign(tmp_path, "sea.png")),)))
    with pytest.raises(IndexdError, match="there is no such image"):
        search.query(SearchRequest(terms=(face(target_of_path(tmp_path / "gone.png")),)))


def test_changed_models_and_models_that_are_off_become_notes(library: SampleLibrary, tmp_path: Path) -> None:
    luna = face(foreign(tmp_path, "luna.png"))

    def other(call: FindFaces) -> FacesFound:
        found = look(call)
        return FacesFound(found.regions, found.vectors, "another", found.detector_identity)

    with pytest.raises(IndexdError, match="--face does not search face: the face models were changed"):
        Search(library.store, FakeQueryEmbedder(toy, other)).query(SearchRequest(terms=(luna,)))

    def off(_call: FindFaces) -> FacesFound:
        raise ModelUnavailable("faces", "no detector is set")

    with pytest.raises(IndexdError, match="no detector is set"):
        Search(library.store, FakeQueryEmbedder(toy, off)).query(SearchRequest(terms=(luna,)))


def test_a_search_before_any_face_was_indexed_says_so(tmp_path: Path) -> None:
    with (
        SqliteStore.open(tmp_path / "empty.db") as store,
        pytest.raises(IndexdError, match="nothing has been computed for face"),
    ):
        Search(store, FakeQueryEmbedder(toy, look)).query(SearchRequest(terms=(face(foreign(tmp_path, "luna.png")),)))
