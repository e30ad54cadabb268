"""Ratings, tags and notes: on the content, with one spelling a tag, and found at once."""

from __future__ import annotations

import pytest

from indexd.store.protocols import IndexStore
from indexd.store.records import Filter, ImageRow
from tests.unit.store.sample_rows import Library


def _row(store: IndexStore, image_id: int) -> ImageRow:
    row = store.images.get(image_id)
    assert row is not None
    return row


def test_a_rating_is_given_changed_and_taken_away(store: IndexStore, library: Library) -> None:
    image_id = library.add("a.png")
    assert store.annotations.rate([image_id, 999], 4) == 1
    assert _row(store, image_id).rating == 4
    store.annotations.rate([image_id], 2)
    assert _row(store, image_id).rating == 2
    store.annotations.rate([image_id], 0)
    assert _row(store, image_id).rating is None


@pytest.mark.parametrize("rating", [-1, 6])
def test_a_rating_out_of_range_is_refused(store: IndexStore, library: Library, rating: int) -> None:
    with pytest.raises(ValueError, match="0 to 5"):
        store.annotations.rate([library.add("a.png")], rating)


def test_marks_follow_the_content_to_another_place(store: IndexStore, library: Library) -> None:
    image_id = library.add("a.png", "same")
    store.annotations.rate([image_id], 5)
    store.annotations.tag([image_id], add=["best"])
    store.files.mark_missing(library.root.id, [b"a.png"], 1.0)
    again = library.add("elsewhere/b.png", "same")
    assert (_row(store, again).rating, _row(store, again).tags) == (5, ("best",))


def test_tags_keep_their_first_spelling_and_are_words_to_search_for(store: IndexStore, library: Library) -> None:
    one, two = library.add("a.png"), library.add("b.png")
    assert store.annotations.tag([one, 999], add=["Für Später", " "]) == 1
    store.annotations.tag([two], add=["für später", "other"])
    assert _row(store, one).tags == ("Für Später",)
    assert _row(store, two).tags == ("Für Später", "other")
    assert {hit for hit, _ in store.fulltext.match('"für später"', 5)} == {one, two}
    store.annotations.tag([two], remove=["FÜR SPÄTER", "never"])
    assert _row(store, two).tags == ("other",)
    assert {hit for hit, _ in store.fulltext.match("später", 5)} == {one}


def test_adding_a_tag_twice_is_once(store: IndexStore, library: Library) -> None:
    image_id = library.add("a.png")
    store.annotations.tag([image_id], add=["x"])
    store.annotations.tag([image_id], add=["x", "X"])
    assert _row(store, image_id).tags == ("x",)


def test_a_note_is_set_and_taken_away(store: IndexStore, library: Library) -> None:
    image_id = library.add("a.png")
    assert store.annotations.note([image_id], "for the cover") == 1
    assert _row(store, image_id).note == "for the cover"
    assert store.annotations.note([image_id], "") == 1
    assert _row(store, image_id).note is None
    assert not store.annotations.note([999], "nobody")


def test_a_tag_does_not_touch_the_words_of_the_prompt(store: IndexStore, library: Library) -> None:
    image_id = library.add("a.png", prompt="a cat")
    store.annotations.tag([image_id], add=["dog"])
    assert [hit for hit, _ in store.fulltext.match("cat dog", 5)] == [image_id]
    assert store.filters.ids([Filter("prompt", "=", "dog")]) == set()
