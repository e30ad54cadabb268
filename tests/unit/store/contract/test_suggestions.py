"""Ratings and keywords of other programs: suggestions that the setting shows or takes, and that a person overrules."""

from __future__ import annotations

import dataclasses
from typing import Any

from indexd.image_metadata.model import PhotoAnnotations
from indexd.store.protocols import IndexStore
from indexd.store.records import Filter
from tests.unit.store.sample_rows import Library

LAKE = PhotoAnnotations(4, ("lake", "people/Ada"))


def _scan(
    library: Library,
    mode: Any,
    embedded: PhotoAnnotations | None,
    sidecar: PhotoAnnotations | None = None,
    rel: str = "a.png",
) -> int:
    """Record a sighting of the same image, as after a change of its sidecar."""
    seen = library.sighting(rel, "the same image", prompt="a cat", annotations=embedded)
    assert seen.facts is not None
    facts = dataclasses.replace(seen.facts, sidecar_annotations=sidecar)
    recorded = library.store.images.ingest([dataclasses.replace(seen, facts=facts, suggestions=mode)], 50.0)
    assert recorded[0].image_id is not None
    return recorded[0].image_id


def _suggested(store: IndexStore, image_id: int) -> list[tuple[str, str, str]]:
    return [(one.source, one.key, one.value) for one in store.attributes.of_images([image_id]).get(image_id, ())]


def _own(store: IndexStore, image_id: int) -> tuple[int | None, tuple[str, ...]]:
    row = store.images.rows([image_id])[image_id]
    return row.rating, tuple(row.tags)


def test_off_stores_nothing(store: IndexStore, library: Library) -> None:
    image_id = _scan(library, "off", LAKE, LAKE)
    assert (_suggested(store, image_id), _own(store, image_id)) == ([], (None, ()))


def test_shown_suggestions_have_their_own_source_and_are_found(store: IndexStore, library: Library) -> None:
    image_id = _scan(library, "show", LAKE, PhotoAnnotations(2, ("fog",)))
    assert _suggested(store, image_id) == [
        ("file", "rating", "4"),
        ("file", "keyword", "lake"),
        ("file", "keyword", "people/Ada"),
        ("sidecar", "rating", "2"),
        ("sidecar", "keyword", "fog"),
    ]
    assert _own(store, image_id) == (None, ())
    assert store.fulltext.match("lake", 10)[0][0] == image_id
    assert store.fulltext.match("4", 10) == []
    assert list(store.filters.ids([Filter("auto", "=", "keyword=fog")]) or ()) == [image_id]


def test_taken_suggestions_are_rating_and_tags(store: IndexStore, library: Library) -> None:
    image_id = _scan(library, "take", LAKE, PhotoAnnotations(2, ("fog",)))
    assert _own(store, image_id) == (2, ("fog", "lake", "people/Ada"))
    assert list(store.filters.ids([Filter("rating", "=", "2")]) or ()) == [image_id]


def test_a_persons_own_rating_overrules_before_and_after(store: IndexStore, library: Library) -> None:
    image_id = _scan(library, "show", None)
    store.annotations.rate([image_id], 5)
    _scan(library, "take", LAKE)
    assert _own(store, image_id)[0] == 5
    _scan(library, "take", PhotoAnnotations(1))
    assert _own(store, image_id)[0] == 5


def test_a_changed_sidecar_changes_a_taken_rating(store: IndexStore, library: Library) -> None:
    image_id = _scan(library, "take", None, PhotoAnnotations(2, ("fog",)))
    _scan(library, "take", None, PhotoAnnotations(3, ("fog", "moss")))
    assert _own(store, image_id) == (3, ("fog", "moss"))
    _scan(library, "take", None, PhotoAnnotations(None, ("moss",)))
    assert _own(store, image_id) == (None, ("fog", "moss"))
    assert _suggested(store, image_id) == [("sidecar", "keyword", "moss")]


def test_what_a_person_removed_does_not_come_back(store: IndexStore, library: Library) -> None:
    image_id = _scan(library, "take", LAKE)
    store.annotations.rate([image_id], 0)
    store.annotations.tag([image_id], remove=["lake"])
    _scan(library, "take", LAKE, PhotoAnnotations(None, ("fog",)))
    store.annotations.suggest({image_id: LAKE}, "take")
    assert _own(store, image_id) == (None, ("fog", "people/Ada"))


def test_a_copy_without_a_sidecar_says_nothing_of_the_sidecar(store: IndexStore, library: Library) -> None:
    image_id = _scan(library, "show", None, PhotoAnnotations(2))
    assert _scan(library, "show", None, None, "copy.png") == image_id
    assert _suggested(store, image_id) == [("sidecar", "rating", "2")]


def test_the_setting_takes_what_was_shown_and_forgets_what_is_off(store: IndexStore, library: Library) -> None:
    store.annotations.set_suggestion_mode("show")
    image_id = _scan(library, "show", LAKE)
    rated = library.add("other.png")
    store.annotations.rate([rated], 1)
    store.annotations.set_suggestion_mode("take")
    assert _own(store, image_id) == (4, ("lake", "people/Ada"))
    store.annotations.rate([image_id], 0)
    store.annotations.set_suggestion_mode("take")
    assert _own(store, image_id)[0] is None
    store.annotations.set_suggestion_mode("off")
    assert _suggested(store, image_id) == []
    assert store.fulltext.match("ada", 10)[0][0] == image_id  # a tag by now
    assert _own(store, rated)[0] == 1


def test_an_import_overrules_a_taken_rating(store: IndexStore, library: Library) -> None:
    from indexd.store.records import AnnotationSet

    image_id = _scan(library, "take", LAKE)
    row = store.images.get(image_id)
    assert row is not None
    store.annotation_exchange.import_annotations({row.content_hash: AnnotationSet(rating=1, rated_at=5.0)})
    _scan(library, "take", PhotoAnnotations(3))
    assert _own(store, image_id)[0] == 1
