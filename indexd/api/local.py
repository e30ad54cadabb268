"""Operations carried out in this process: inside the daemon, or over an index that a command opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from indexd.api.context import DaemonContext, OperationContext
from indexd.api.operations.registry import Operation, Operations, ResponseT, load_implementations
from indexd.config import Config
from indexd.store.protocols import IndexStore
from indexd_schemas.api.requests import ApiRequest


class LocalOperations(Operations):
    """Operations over an open index. `on_close` is called by `close`, after our own workers have stopped."""

    def __init__(
        self,
        config: Config,
        store: IndexStore,
        daemon: DaemonContext | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = OperationContext(config, store, daemon)
        self._on_close = on_close

    def preload(self) -> None:
        """Import every implementation now instead of at its first call."""
        load_implementations()
        _ = self._context.search

    def carry_out(self, operation: Operation[Any, ResponseT], request: ApiRequest) -> ResponseT:
        """See Operations."""
        return operation.run(self._context, request)

    def close(self) -> None:
        """Stop our own workers and release the index; inside the daemon both belong to it, and nothing happens."""
        self._context.close()
        self._on_close()
