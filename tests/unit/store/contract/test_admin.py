"""Roots, events and keys."""

from __future__ import annotations

from indexd.store.protocols import IndexStore
from indexd.store.records import EventRow, RootRow
from tests.unit.store.sample_rows import Clock


def test_a_root_is_created_once_and_keeps_its_id(store: IndexStore) -> None:
    first = store.roots.ensure(b"/pictures\xff", "images")
    assert first == RootRow(first.id, b"/pictures\xff", "images", True, None, "", "")
    assert store.roots.ensure(b"/pictures\xff", "images") == first
    inbox = store.roots.ensure(b"/inbox", "jobs")
    assert store.roots.all() == [first, inbox]
    assert store.roots.ensure(b"/inbox", "images").id == inbox.id


def test_the_state_of_a_root_is_stored(store: IndexStore) -> None:
    root = store.roots.ensure(b"/pictures", "images")
    store.roots.set_state(root.id, online=False, identity="8:12", mode="poll", reason="a network mount")
    assert store.roots.all() == [RootRow(root.id, b"/pictures", "images", False, "8:12", "poll", "a network mount")]
    assert store.roots.ensure(b"/pictures", "images").identity == "8:12"


def test_events_are_listed_newest_first(store: IndexStore, clock: Clock) -> None:
    store.events.add("rescan", "the watcher failed", root_id=3)
    clock.now += 1
    store.events.add("offline", "the folder \ud800 is gone")
    assert store.events.recent(5) == [
        EventRow(clock.now, "offline", "the folder ? is gone", None),
        EventRow(clock.now - 1, "rescan", "the watcher failed", 3),
    ]
    assert len(store.events.recent(1)) == 1
    assert (store.events.count("rescan"), store.events.count("never")) == (1, 0)


def test_a_key_is_set_and_deleted(store: IndexStore) -> None:
    assert store.key_values.get("k") is None
    store.key_values.set("k", "one")
    store.key_values.set("k", "two")
    assert store.key_values.get("k") == "two"
    store.key_values.set("k", None)
    assert store.key_values.get("k") is None
