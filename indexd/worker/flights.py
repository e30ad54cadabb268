"""The calls of one lane that are not over: waiting, or begun by the child. Guarded by the lane's lock."""

from __future__ import annotations

from dataclasses import dataclass

from indexd.worker.handle import Call, OnProgress


@dataclass(slots=True)
class Flight:
    """A call on its way. `message` is its pickled form; `sign_at` is when it last gave a sign of life."""

    call: Call
    number: int
    message: bytes
    on_progress: OnProgress | None
    timeout_seconds: float | None
    begun: bool = False
    sign_at: float = 0.0

    @property
    def kind(self) -> str:
        """The name of the call's class."""
        return type(self.call.call).__name__

    def deadline(self) -> float | None:
        """When its silence has been too long; None = it may be silent for ever, or was not begun."""
        if not self.begun or self.timeout_seconds is None:
            return None
        return self.sign_at + self.timeout_seconds


class Flights:
    """Calls by number, in the order in which they came. Times are seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self._flights: dict[int, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def add(self, flight: Flight) -> None:
        """One more."""
        self._flights[flight.number] = flight

    def get(self, number: int) -> Flight | None:
        """The call, unless it is over."""
        return self._flights.get(number)

    def land(self, number: int) -> Flight | None:
        """Take out a call that is over; None when it was taken out before."""
        return self._flights.pop(number, None)

    def begun(self) -> list[Flight]:
        """The calls that the child has in hand: one, and urgent ones in the middle of it."""
        return [flight for flight in self._flights.values() if flight.begun]

    def messages(self) -> list[bytes]:
        """All of them, for a new child."""
        return [flight.message for flight in self._flights.values()]

    def next_deadline(self) -> float | None:
        """When the next call will have been silent for too long."""
        return min((limit for flight in self.begun() if (limit := flight.deadline()) is not None), default=None)

    def overdue(self, now: float) -> list[Flight]:
        """The calls that have been silent for too long."""
        return [flight for flight in self.begun() if (limit := flight.deadline()) is not None and limit <= now]

    def take(self, flights: list[Flight]) -> list[Flight]:
        """Take these out, and let the others wait for the next child."""
        for flight in flights:
            self._flights.pop(flight.number, None)
        for flight in self._flights.values():
            flight.begun = False
        return flights

    def take_waiting(self) -> list[Flight]:
        """Take out what was not begun."""
        waiting = [flight for flight in self._flights.values() if not flight.begun]
        for flight in waiting:
            del self._flights[flight.number]
        return waiting

    def take_all(self) -> list[Flight]:
        """Take out everything."""
        flights = list(self._flights.values())
        self._flights.clear()
        return flights
