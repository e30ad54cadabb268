"""A stream of change events, and its form on the wire (server-sent events, https://html.spec.whatwg.org/#server-sent-events)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from indexd_schemas.api.responses import ChangeEvent

HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class StreamedEvent:
    """An event with the id from which a client can resume."""

    id: str
    event: ChangeEvent

    def encode(self) -> bytes:
        """The event on the wire."""
        data = self.event.model_dump_json(exclude_none=True)
        return f"id: {self.id}\nevent: {self.event.kind}\ndata: {data}\n\n".encode()


class EventStream(ABC):
    """Iterates over events as they come. It ends when the daemon stops."""

    @abstractmethod
    def __iter__(self) -> Iterator[StreamedEvent]: ...

    @abstractmethod
    def close(self) -> None:
        """End the stream. Harmless when repeated."""


def parse_events(lines: Iterable[bytes]) -> Iterator[StreamedEvent]:
    """The events of a response body, which comes line by line. Comments (heartbeats) are skipped."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            yield StreamedEvent(fields.get("id", ""), ChangeEvent.model_validate_json(fields["data"]))
            fields = {}
