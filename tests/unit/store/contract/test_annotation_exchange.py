"""Marks by content: merged by rule, given out and taken in, waiting for what is not there, carried over an edit."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from indexd.fs.file_stamp import FileStamp
from indexd.store.annotation_merge import merge_annotations
from indexd.store.protocols import IndexStore
from indexd.store.records import AnnotationSet, ExportedAnnotations, Filter, ImageRow, ScannedFile
from tests.unit.store.sample_rows import Clock, Library


def _row(store: IndexStore, image_id: int) -> ImageRow:
    row = store.images.get(image_id)
    assert row is not None
    return row


def _hash(content: str) -> bytes:
    return hashlib.sha256(content.encode()).digest()


def _all(store: IndexStore, limit: int = 2) -> list[ExportedAnnotations]:
    found, cursor = store.annotation_exchange.export_page("", limit)
    while cursor is not None:
        more, cursor = store.annotation_exchange.export_page(cursor, limit)
        found += more
    return found


SETS = (
    AnnotationSet(),
    AnnotationSet(5, 10.0, frozenset({"a"}), "first", 1.0),
    AnnotationSet(3, 20.0, frozenset({"A", "b/c"}), "second", 1.0),
    AnnotationSet(4, 20.0, frozenset({"d"})),
    AnnotationSet(tags=frozenset({"b/c"}), note="late", noted_at=30.0),
)


@pytest.mark.parametrize(("one", "other"), list(itertools.product(SETS, SETS)))
def test_merging_is_commutative_and_idempotent(one: AnnotationSet, other: AnnotationSet) -> None:
    first, second = merge_annotations(one, other), merge_annotations(other, one)
    assert (first.rating, first.rated_at, first.note, first.noted_at) == (
        second.rating,
        second.rated_at,
        second.note,
        second.noted_at,
    )
    assert {tag.casefold() for tag in first.tags} == {tag.casefold() for tag in second.tags}
    assert merge_annotations(first, other) == first
    assert merge_annotations(first, one) == first


def test_the_later_annotation_wins_unless_the_other_is_preferred() -> None:
    early, late = (
        AnnotationSet(5, 10.0, note="early", noted_at=10.0),
        AnnotationSet(2, 20.0, note="late", noted_at=20.0),
    )
    assert merge_annotations(early, late).rating == merge_annotations(late, early).rating == 2
    assert merge_annotations(late, early).note == "late"
    assert (
        merge_annotations(late, early, prefer_other=True).rating,
        merge_annotations(late, early, prefer_other=True).note,
    ) == (5, "early")
    assert merge_annotations(late, AnnotationSet(), prefer_other=True) == late


def test_exported_annotations_are_imported_elsewhere(store: IndexStore, library: Library, clock: Clock) -> None:
    ids = [library.add(f"{n}.png") for n in range(5)]
    store.annotations.rate(ids[:2], 4)
    store.annotations.tag(ids[1:3], ["Style/Anime"])
    store.annotations.note([ids[3]], "ä note")
    kept = _all(store)
    assert {one.content_hash: one.annotations for one in kept} == {
        _hash("0.png"): AnnotationSet(4, clock.now),
        _hash("1.png"): AnnotationSet(4, clock.now, frozenset({"Style/Anime"})),
        _hash("2.png"): AnnotationSet(tags=frozenset({"Style/Anime"})),
        _hash("3.png"): AnnotationSet(note="ä note", noted_at=clock.now),
    }
    assert kept[0].name == "0.png"
    assert kept[0].paths == (b"/pictures/0.png",)
    again = store.annotation_exchange.import_annotations({one.content_hash: one.annotations for one in kept})
    assert (again.changed, again.same, again.pending) == (0, 4, 0)
    assert [one.image_id for one in store.annotation_exchange.export_page("", 10, {ids[1]})[0]] == [ids[1]]


def test_pending_annotations_are_applied_when_their_image_appears(store: IndexStore, library: Library) -> None:
    given = {_hash("later"): AnnotationSet(5, 9.0, frozenset({"b", " x / y "}), "hello", 9.0)}
    assert store.annotation_exchange.import_annotations(given, dry_run=True).pending == 1
    assert store.annotation_exchange.count_pending() == 0
    assert store.annotation_exchange.import_annotations(given).pending == 1
    assert store.annotation_exchange.import_annotations(given).changed == 0
    assert [one.image_id for one in _all(store)] == [None]
    row = _row(store, library.add("a.png", "later"))
    assert (row.rating, row.tags, row.note) == (5, ("b", "x/y"), "hello")
    assert store.annotation_exchange.count_pending() == 0
    assert [hit for hit, _ in store.fulltext.match("y", 5)] == [row.id]
    assert _all(store)[0].annotations.rated_at == 9.0


def test_a_tag_is_found_by_its_ancestors(store: IndexStore, library: Library) -> None:
    one, two, three = (library.add(name) for name in ("a.png", "b.png", "c.png"))
    store.annotations.tag([one], ["style/anime"])
    store.annotations.tag([two], ["STYLE / comic/"])
    store.annotations.tag([three], ["stylefree"])
    assert _row(store, two).tags == ("style/comic",)
    found = {
        value: store.filters.ids([Filter("tag", "=", value)]) for value in ("style", "Style/", "style/a*", "anime")
    }
    assert found == {"style": {one, two}, "Style/": {one, two}, "style/a*": {one}, "anime": set()}
    assert store.filters.ids([Filter("tag", "=", "style", negate=True)]) == {three}
    store.annotations.tag([one, two], remove=["style/*"])
    assert (_row(store, one).tags, _row(store, two).tags) == ((), ())
    assert _row(store, three).tags == ("stylefree",)


def test_a_note_is_appended_to_and_found(store: IndexStore, library: Library) -> None:
    one, two = library.add("a.png"), library.add("b.png")
    store.annotations.note([one], "for the Cover 100%")
    store.annotations.note([one, two], "more", append=True)
    assert _row(store, one).note == "for the Cover 100%\nmore"
    assert _row(store, two).note == "more"
    assert store.filters.ids([Filter("note", "=", "cover 100%")]) == {one}
    assert store.filters.ids([Filter("note", "has")]) == {one, two}


def test_folders_become_tags_when_the_root_enables_it(store: IndexStore) -> None:
    library = Library(store, store.roots.ensure(b"/tagging", "images", folder_tags=True))
    one, two = library.add("portraits/red/a.png"), library.add("b.png")
    assert (_row(store, one).folder_tags, _row(store, one).tags) == (("portraits/red",), ())
    assert _row(store, two).folder_tags == ()
    assert store.filters.ids([Filter("tag", "=", "portraits")]) == {one}
    assert [hit for hit, _ in store.fulltext.match("red", 5)] == [one]
    assert _all(store) == []  # nothing that a person put in
    store.files.record_move(library.root.id, b"portraits/red/a.png", b"blue/a.png", FileStamp(1, 1, 7))
    assert _row(store, one).folder_tags == ("blue",)
    assert store.roots.ensure(b"/tagging", "images").folder_tags
    store.roots.ensure(b"/tagging", "images", folder_tags=False)
    assert store.filters.ids([Filter("tag", "has")]) == set()
    store.roots.ensure(b"/tagging", "images", folder_tags=True)
    assert _row(store, one).folder_tags == ("blue",)


def test_an_edited_file_is_a_candidate_only_with_annotations(store: IndexStore, library: Library) -> None:
    plain, rated = library.add("plain.png", "1"), library.add("rated.png", "2")
    store.annotations.rate([rated], 5)
    library.add("plain.png", "3")
    new = library.add("rated.png", "4")
    assert store.replacements.candidates([new, plain]) == {new: [rated]}
    assert store.index_tasks.counts()["replacement"] == {"pending": 1}
    taken = store.index_tasks.claim("replacement", 5, 0.0)
    assert [item.image_id for item in taken] == [new]


def test_the_verdict_decides_and_the_old_image_keeps_its_annotations(store: IndexStore, library: Library) -> None:
    same, other = library.add("same.png", "1"), library.add("output.png", "2")
    for image_id in (same, other):
        store.annotations.rate([image_id], 5)
        store.annotations.tag([image_id], ["keep"])
    new, another = library.add("same.png", "3"), library.add("output.png", "4")
    assert store.replacements.settle({new: {same: True}, another: {other: False}}) == 1
    assert (_row(store, new).rating, _row(store, new).tags) == (5, ("keep",))
    assert (_row(store, another).rating, _row(store, another).tags) == (None, ())
    assert (_row(store, same).rating, _row(store, other).rating) == (5, 5)
    assert store.index_tasks.counts() == {}
    assert store.replacements.candidates([new, another]) == {}


def test_newer_annotations_of_the_new_image_are_kept(store: IndexStore, library: Library, clock: Clock) -> None:
    old = library.add("a.png", "1")
    store.annotations.rate([old], 5)
    store.annotations.note([old], "old")
    new = library.add("a.png", "2")
    clock.now += 1
    store.annotations.rate([new], 2)
    store.replacements.settle({new: {old: True}})
    assert (_row(store, new).rating, _row(store, new).note) == (2, "old")


def test_saving_several_times_in_a_row_leaves_a_chain(store: IndexStore, library: Library) -> None:
    first = library.add("a.png", "1")
    store.annotations.rate([first], 5)
    second, third = library.add("a.png", "2"), library.add("a.png", "3")
    assert store.replacements.candidates([second, third]) == {second: [first], third: [first]}


def test_a_file_caught_half_written_is_still_the_successor(store: IndexStore, library: Library) -> None:
    first = library.add("a.png", "1")
    store.annotations.rate([first], 5)
    broken = ScannedFile(library.root.id, b"a.png", FileStamp(1, 2, 3), None, "it is cut off")
    store.images.ingest([broken], 60.0)
    second = library.add("a.png", "2")
    assert store.replacements.candidates([second]) == {second: [first]}


def test_a_file_renamed_over_another_is_its_successor(store: IndexStore, library: Library) -> None:
    first, second = library.add("a.png", "1"), library.add("a.saving.png", "2")
    store.annotations.rate([first], 5)
    store.files.record_move(library.root.id, b"a.saving.png", b"a.png", FileStamp(1, 2, 3))
    assert store.replacements.candidates([second]) == {second: [first]}


def test_an_edit_that_is_taken_back_is_no_loss(store: IndexStore, library: Library) -> None:
    first = library.add("a.png", "1")
    store.annotations.rate([first], 5)
    second = library.add("a.png", "2")
    store.replacements.settle({second: {first: True}})
    assert library.add("a.png", "1") == first
    assert _row(store, first).rating == 5
    assert store.replacements.settle({first: {second: True}}) == 0
