"""The unfinished calls of one lane, started or not. Guarded by the lane's lock."""

from __future__ import annotations

from dataclasses import dataclass

from indexd.worker.call_handle import CallHandle, OnProgress


@dataclass(slots=True)
class InFlightCall:
    """A submitted call. `message` is its pickled form; `last_activity_at` is when the worker last reported progress.

    `cancel_deadline` is when a cancelled call must have ended.
    """

    call: CallHandle
    number: int
    message: bytes
    on_progress: OnProgress | None
    timeout_seconds: float | None
    is_started: bool = False
    last_activity_at: float = 0.0
    cancel_deadline: float | None = None

    @property
    def call_name(self) -> str:
        """The name of the call's class."""
        return type(self.call.call).__name__

    def silence_deadline(self) -> float | None:
        """When its time without progress, or after its cancellation, is over; None = it has no limit, or is not started."""
        if not self.is_started:
            return None
        silence = None if self.timeout_seconds is None else self.last_activity_at + self.timeout_seconds
        return min((limit for limit in (silence, self.cancel_deadline) if limit is not None), default=None)


class InFlightCalls:
    """Calls by number, in the order of their arrival. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._calls: dict[int, InFlightCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, in_flight: InFlightCall) -> None:
        """Add a call."""
        self._calls[in_flight.number] = in_flight

    def get(self, number: int) -> InFlightCall | None:
        """The call, unless it is over."""
        return self._calls.get(number)

    def remove(self, number: int) -> InFlightCall | None:
        """Remove a call that is over; None when it was removed before."""
        return self._calls.pop(number, None)

    def started(self) -> list[InFlightCall]:
        """The calls that the child has started: one, and urgent ones that interrupt it."""
        return [flight for flight in self._calls.values() if flight.is_started]

    def messages(self) -> list[bytes]:
        """The messages of all calls, for a new child."""
        return [flight.message for flight in self._calls.values()]

    def next_deadline(self) -> float | None:
        """The earliest deadline of a started call; None when there is none."""
        return min(
            (limit for flight in self.started() if (limit := flight.silence_deadline()) is not None), default=None
        )

    def overdue(self, now: float) -> list[InFlightCall]:
        """The started calls whose deadline has passed."""
        return [
            flight for flight in self.started() if (limit := flight.silence_deadline()) is not None and limit <= now
        ]

    def remove_lost(self, lost: list[InFlightCall]) -> list[InFlightCall]:
        """Remove these calls, and mark the others as not started."""
        for flight in lost:
            self._calls.pop(flight.number, None)
        for flight in self._calls.values():
            flight.is_started = False
        return lost

    def take_unstarted(self) -> list[InFlightCall]:
        """Remove and return the calls that are not started."""
        waiting = [flight for flight in self._calls.values() if not flight.is_started]
        for flight in waiting:
            del self._calls[flight.number]
        return waiting

    def take_all(self) -> list[InFlightCall]:
        """Remove and return all calls."""
        flights = list(self._calls.values())
        self._calls.clear()
        return flights
