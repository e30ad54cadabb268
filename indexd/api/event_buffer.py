"""The newest change events, kept so that a client which lost its connection can resume."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator

from indexd.api.event_stream import EventStream, StreamedEvent
from indexd.background.signal import Signal
from indexd.store.records import StoreChanges
from indexd_schemas.api.responses import ChangeEvent

BUFFERED_EVENTS = 2000
MAX_IDS = 500


class EventBuffer:
    """Records changes from the first client on. Every method may be called from any thread.

    An event id is `<random>-<number>`: the random part differs for each start of the daemon.
    """

    def __init__(self, watch_changes: Callable[[Callable[[StoreChanges], None]], object]) -> None:
        self.added: Signal[[]] = Signal("new events")
        self._watch_changes = watch_changes
        self._condition = threading.Condition()
        self._events: deque[ChangeEvent] = deque(maxlen=BUFFERED_EVENTS)
        self._prefix = secrets.token_hex(4)
        self._count = 0
        self._is_recording = False

    def open(self, last_event_id: str | None) -> BufferedEventStream:
        """The events after `last_event_id`, or from now on."""
        with self._condition:
            start_recording, self._is_recording = not self._is_recording, True
        if start_recording:
            self._watch_changes(self.record)
        if last_event_id is None:
            return BufferedEventStream(self, self._count)
        prefix, _, number = last_event_id.partition("-")
        is_ours = prefix == self._prefix and number.isascii() and number.isdigit() and int(number) <= self._count
        return BufferedEventStream(self, int(number) if is_ours else None)

    def record(self, changes: StoreChanges) -> None:
        """Append the events of a transaction."""
        events = [
            *_id_events("image.added", changes.added_ids),
            *_id_events("image.removed", changes.removed_ids),
            *_id_events("image.changed", changes.image_ids - changes.added_ids - changes.removed_ids),
            *_id_events("annotation.changed", changes.annotated_ids - changes.removed_ids),
            *_id_events("job.changed", changes.job_ids),
            *(ChangeEvent(kind="status.changed", text=text) for text in changes.event_texts),
        ]
        with self._condition:
            self._events.extend(events)
            self._count += len(events)
            self._condition.notify_all()
        self.added.emit()

    def read_after(self, position: int | None) -> tuple[list[StreamedEvent], int]:
        """The events after a position, and the position after them. A `reset` stands for events that are lost."""
        with self._condition:
            oldest = self._count - len(self._events)
            if position is None or position < oldest:
                return [self._streamed(self._count, ChangeEvent(kind="reset"))], self._count
            events = list(self._events)[position - oldest :]
            return [self._streamed(position + number, event) for number, event in enumerate(events, 1)], self._count

    def wait(self, position: int, is_closed: Callable[[], bool]) -> None:
        """Block until there are events after `position`, or the stream is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._count > position or is_closed())

    def wake(self) -> None:
        """Have blocked streams check whether they are closed."""
        with self._condition:
            self._condition.notify_all()

    def _streamed(self, number: int, event: ChangeEvent) -> StreamedEvent:
        return StreamedEvent(f"{self._prefix}-{number}", event)


class BufferedEventStream(EventStream):
    """A position in the buffer. A slow reader costs no memory: when the buffer overtakes it, it gets a `reset`."""

    def __init__(self, buffer: EventBuffer, position: int | None) -> None:
        self.buffer = buffer
        self._position = position
        self._is_closed = False

    def read(self) -> list[StreamedEvent]:
        """The events since the last read, at once."""
        events, self._position = self.buffer.read_after(self._position)
        return events

    def __iter__(self) -> Iterator[StreamedEvent]:
        while not self._is_closed:
            yield from self.read()
            self.buffer.wait(self._position or 0, lambda: self._is_closed)

    def close(self) -> None:
        """See EventStream."""
        self._is_closed = True
        self.buffer.wake()


def _id_events(kind: str, ids: set[int]) -> Iterator[ChangeEvent]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), MAX_IDS):
        yield ChangeEvent.model_validate({"kind": kind, "ids": ordered[start : start + MAX_IDS]})
