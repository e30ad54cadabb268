"""Listeners that are called when something happens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, ParamSpec

log = logging.getLogger(__name__)

P = ParamSpec("P")


class Signal(Generic[P]):
    """A list of listeners. Every method may be called from any thread."""

    def __init__(self, name: str) -> None:
        """`name` says in the log which signal a failing listener belongs to."""
        self._name = name
        self._lock = threading.Lock()
        self._listeners: dict[object, Callable[P, object]] = {}

    def subscribe(self, listener: Callable[P, object]) -> Callable[[], None]:
        """Call `listener` at every `emit`, after those subscribed before it. Returns the function that unsubscribes it."""
        subscription = object()
        with self._lock:
            self._listeners = {**self._listeners, subscription: listener}

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = {key: one for key, one in self._listeners.items() if key is not subscription}

        return unsubscribe

    def emit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call every listener in this thread. One that raises is logged, and the others are still called."""
        # The dict is replaced and never changed, so listeners may subscribe and unsubscribe while it is iterated.
        for listener in self._listeners.values():
            try:
                listener(*args, **kwargs)
            except Exception:
                log.exception("a listener of %s failed", self._name)
