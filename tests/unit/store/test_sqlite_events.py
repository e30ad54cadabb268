"""Roots, events and keys."""

from __future__ import annotations

import pytest

from indexd.store.protocols import IndexStore
from indexd.store.sqlite import admin


def test_old_events_are_deleted(store: IndexStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "KEPT_EVENTS", 3)
    for number in range(10):
        store.events.add("x", str(number))
    assert [event.text for event in store.events.recent(99)] == ["9", "8", "7"]
