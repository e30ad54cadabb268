"""The resident models of a worker: loaded on first use, leased, dropped after their keep-alive or when memory runs out.

Used from the worker's serving thread only, which nests (an urgent call in the middle of a render), so no locks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from indexd.errors import IndexdError, OutOfMemory
from indexd.models.device import free_device_memory, is_out_of_memory

log = logging.getLogger(__name__)

T = TypeVar("T")

MonotonicClock = Callable[[], float]


@dataclass(slots=True)
class _Resident:
    role: str
    model: Any = field(repr=False)
    keep_alive_seconds: float | None
    used_at: float
    leases: int = 0

    def expires_at(self, at_least: float) -> float | None:
        if self.leases or self.keep_alive_seconds is None:
            return None
        return self.used_at + max(at_least, self.keep_alive_seconds)


class ModelPool:
    """Models by key. `now` gives seconds that only go forward."""

    def __init__(
        self, now: MonotonicClock = time.monotonic, free_memory: Callable[[], object] = free_device_memory
    ) -> None:
        self._now = now
        self._free_memory = free_memory
        self._residents: dict[str, _Resident] = {}

    @contextmanager
    def lease(self, role: str, key: str, load: Callable[[], T], keep_alive_seconds: float | None) -> Iterator[T]:
        """The model under `key`, loaded by `load` unless it is resident; not evicted before the block is left.

        Raises what `load` raises, and errors.OutOfMemory when memory was short even after evicting every idle model.
        """
        resident = self._residents.get(key)
        if resident is None:
            started = self._now()
            model = self.run_with_eviction(load)
            log.info("loaded %s in %.1f s", role, self._now() - started)
            resident = self._residents[key] = _Resident(role, model, keep_alive_seconds, self._now())
        resident.keep_alive_seconds = keep_alive_seconds
        resident.leases += 1
        try:
            yield cast("T", resident.model)
        finally:
            resident.leases -= 1
            resident.used_at = self._now()

    def run_with_eviction(self, work: Callable[[], T]) -> T:
        """The result of `work()`; out of memory evicts the idle models one by one, least recently used first."""
        while True:
            try:
                return work()
            except IndexdError:
                raise
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else "the device has no memory left"
            # Outside the handler, whose traceback would keep every tensor of the failed attempt alive.
            if not self._evict_one():
                self._free_memory()
                raise OutOfMemory(f"out of memory, with nothing left to evict: {reason}")

    def drop_expired(self, now: float, at_least: float = 0.0) -> list[str]:
        """Drop the models whose keep-alive, or `at_least` seconds where that is longer, is over; answers their roles."""
        expired = [key for key, one in self._residents.items() if _is_past(one.expires_at(at_least), now)]
        return self._drop(expired)

    def next_expiry(self) -> float | None:
        """When the next model expires, on the pool's clock; None = none does."""
        return min((at for one in self._residents.values() if (at := one.expires_at(0.0)) is not None), default=None)

    def idle_seconds(self, now: float) -> dict[str, float]:
        """Every resident role with the seconds since its last use; 0 while it is lent out."""
        ages: dict[str, float] = {}
        for one in self._residents.values():
            age = 0.0 if one.leases else max(0.0, now - one.used_at)
            ages[one.role] = min(age, ages.get(one.role, age))
        return ages

    def _evict_one(self) -> bool:
        idle = [key for key, one in self._residents.items() if not one.leases]
        if not idle:
            return False
        oldest = min(idle, key=lambda key: self._residents[key].used_at)
        log.info("evicting %s to free memory", self._residents[oldest].role)
        self._drop([oldest])
        return True

    def _drop(self, keys: list[str]) -> list[str]:
        roles = [self._residents.pop(key).role for key in keys]
        if roles:
            self._free_memory()
        return roles


def _is_past(moment: float | None, now: float) -> bool:
    return moment is not None and moment <= now
