"""Repositories of key-value pairs, events and metrics."""

from __future__ import annotations

from typing import Protocol

from indexd.store.records import EventRow, IndexMetrics


class KeyValueRepository(Protocol):
    """Text values by key."""

    def get(self, key: str) -> str | None:
        """The value of a key, or None."""
        ...

    def set(self, key: str, value: str | None) -> None:
        """Set the value of a key; None deletes the key."""
        ...


class EventRepository(Protocol):
    """What the daemon reports to people. Old events are deleted."""

    def add(self, kind: str, text: str, root_id: int | None = None) -> None:
        """Record an event at the present time."""
        ...

    def recent(self, n: int) -> list[EventRow]:
        """The newest `n` events, newest first."""
        ...

    def count(self, kind: str) -> int:
        """How many events of this kind are stored."""
        ...


class MetricsRepository(Protocol):
    """Metrics of the index."""

    def snapshot(self) -> IndexMetrics:
        """All metrics, read in one transaction."""
        ...
