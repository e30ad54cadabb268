"""The calls of one lane that are not over: waiting, or begun by the child. Guarded by the lane's lock."""

from __future__ import annotations

from dataclasses import dataclass

from indexd.worker.call_handle import CallHandle, OnProgress


@dataclass(slots=True)
class InFlightCall:
    """A call on its way. `message` is its pickled form; `sign_at` is when it last gave a sign of life."""

    call: CallHandle
    number: int
    message: bytes
    on_progress: OnProgress | None
    timeout_seconds: float | None
    is_started: bool = False
    last_activity_at: float = 0.0

    @property
    def call_name(self) -> str:
        """The name of the call's class."""
        return type(self.call.call).__name__

    def silence_deadline(self) -> float | None:
        """When its silence has been too long; None = it may be silent for ever, or was not begun."""
        if not self.is_started or self.timeout_seconds is None:
            return None
        return self.last_activity_at + self.timeout_seconds


class InFlightCalls:
    """Calls by number, in the order in which they came. Times are seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self._calls: dict[int, InFlightCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, in_flight: InFlightCall) -> None:
        """One more."""
        self._calls[in_flight.number] = in_flight

    def get(self, number: int) -> InFlightCall | None:
        """The call, unless it is over."""
        return self._calls.get(number)

    def remove(self, number: int) -> InFlightCall | None:
        """Take out a call that is over; None when it was taken out before."""
        return self._calls.pop(number, None)

    def started(self) -> list[InFlightCall]:
        """The calls that the child has in hand: one, and urgent ones in the middle of it."""
        return [flight for flight in self._calls.values() if flight.is_started]

    def messages(self) -> list[bytes]:
        """All of them, for a new child."""
        return [flight.message for flight in self._calls.values()]

    def next_deadline(self) -> float | None:
        """When the next call will have been silent for too long."""
        return min(
            (limit for flight in self.started() if (limit := flight.silence_deadline()) is not None), default=None
        )

    def overdue(self, now: float) -> list[InFlightCall]:
        """The calls that have been silent for too long."""
        return [
            flight for flight in self.started() if (limit := flight.silence_deadline()) is not None and limit <= now
        ]

    def remove_lost(self, lost: list[InFlightCall]) -> list[InFlightCall]:
        """Take these out, and let the others wait for the next child."""
        for flight in lost:
            self._calls.pop(flight.number, None)
        for flight in self._calls.values():
            flight.is_started = False
        return lost

    def take_unstarted(self) -> list[InFlightCall]:
        """Take out what was not begun."""
        waiting = [flight for flight in self._calls.values() if not flight.is_started]
        for flight in waiting:
            del self._calls[flight.number]
        return waiting

    def take_all(self) -> list[InFlightCall]:
        """Take out everything."""
        flights = list(self._calls.values())
        self._calls.clear()
        return flights
