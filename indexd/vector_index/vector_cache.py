"""All codes of some layers in memory, filled from a source in the background and kept equal to it by its writes.

While a layer is being filled, queries scan the stored codes instead. The order of the steps makes this correct without
stopping the writer. A layer receives writes before its first slice is read; a code that was written wins over the same
id in a slice; and an id that was removed is not added by a later slice. A stale code could only cost one candidate,
because the caller scores every candidate from its stored vector.
"""

from __future__ import annotations

import enum
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from indexd.vector_index.code_index import CandidateLimits, Candidates, Codes, CodeSetId, CodeSource, Ids
from indexd.vector_index.code_matrix import CodeMatrix
from indexd.vector_index.estimate import QueryCode

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0


class FillFailure(enum.Enum):
    """What follows an error of the source while a layer is filled."""

    RETRY = enum.auto()
    """The source cannot be read now: fill the layer again after RETRY_SECONDS."""
    SKIP_LAYER = enum.auto()
    """The codes cannot be read: queries scan the stored codes until the layer is invalidated."""
    BUG = enum.auto()
    """Report the error and end the thread; queries scan the stored codes."""


@dataclass(slots=True)
class _CachedLayer:
    """The codes of one layer. Hold `lock` to change them. `removed_ids` is kept until `is_ready`."""

    code_set: CodeSetId
    matrix: CodeMatrix
    is_ready: bool = False
    removed_ids: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class VectorCache:
    """A CodeIndex that holds the codes of `layers`. `on_failure` receives errors that `classify` calls a bug.

    It runs its own thread, because this package imports nothing else of indexd, not even BackgroundService.
    """

    def __init__(
        self,
        source: CodeSource,
        layers: Iterable[str],
        classify: Callable[[BaseException], FillFailure],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._source = source
        self._classify = classify
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._layers: dict[str, _CachedLayer] = {}
        self._fill_queue: queue.Queue[str | None] = queue.Queue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vector-cache", daemon=True)
        for layer in layers:
            self._fill_queue.put(layer)

    def start(self) -> None:
        """Attach to the source and fill the layers in a thread."""
        self._source.attach(self)
        self._thread.start()

    def stop(self) -> None:
        """Detach from the source and end the thread."""
        self._source.attach(None)
        self._stopping.set()
        self._fill_queue.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def wait_until_filled(self) -> None:
        """Return when no layer is waiting to be filled."""
        self._fill_queue.join()

    @property
    def nbytes(self) -> int:
        """The bytes of memory that the codes take."""
        with self._lock:
            return sum(cached.matrix.nbytes for cached in self._layers.values())

    def is_ready(self, layer: str) -> bool:
        """Whether queries of the layer are answered from memory."""
        with self._lock:
            cached = self._layers.get(layer)
            return cached is not None and cached.is_ready

    def find(
        self, code_set: CodeSetId, query: QueryCode, limits: CandidateLimits, allowed_ids: Ids | None
    ) -> Candidates | None:
        """See CodeIndex."""
        cached = self._cached_layer(code_set)
        if cached is None or not cached.is_ready:
            return None
        return cached.matrix.nearest(query, limits, allowed_ids)

    def put(self, code_set: CodeSetId, ids: Ids, codes: Codes) -> None:
        """See CodeIndex."""
        cached = self._cached_layer(code_set)
        if cached is not None:
            with cached.lock:
                cached.removed_ids.difference_update(ids.tolist())
                cached.matrix.put(ids, codes)

    def remove(self, key: str, ids: Ids) -> None:
        """See CodeIndex."""
        with self._lock:
            layers = [cached for cached in self._layers.values() if cached.code_set.key == key]
        for cached in layers:
            with cached.lock:
                if not cached.is_ready:
                    cached.removed_ids.update(ids.tolist())
                cached.matrix.remove(ids)

    def invalidate(self, layer: str) -> None:
        """See CodeIndex."""
        with self._lock:
            self._layers.pop(layer, None)
        self._fill_queue.put(layer)

    def _cached_layer(self, code_set: CodeSetId) -> _CachedLayer | None:
        with self._lock:
            cached = self._layers.get(code_set.layer)
        return cached if cached is not None and cached.code_set == code_set else None

    def _run(self) -> None:
        while (layer := self._fill_queue.get()) is not None:
            try:
                self._fill(layer)
            except BaseException as error:
                if not self._handle(layer, error):
                    self._on_failure(error)
                    raise
            finally:
                self._fill_queue.task_done()
        self._fill_queue.task_done()

    def _handle(self, layer: str, error: BaseException) -> bool:
        """False if the error is a bug."""
        failure = self._classify(error)
        if failure is FillFailure.RETRY:
            log.warning("the codes of %s are not in memory yet, its queries take longer: %s", layer, error)
            if not self._stopping.wait(RETRY_SECONDS):
                self._fill_queue.put(layer)
        elif failure is FillFailure.SKIP_LAYER:
            log.warning("the codes of %s are not held in memory, its queries take longer: %s", layer, error)
        return failure is not FillFailure.BUG

    def _fill(self, layer: str) -> None:
        began = time.perf_counter()
        active = self._source.active_codes(layer)
        if active is None:
            return
        code_set, code_bytes = active
        cached = _CachedLayer(code_set, CodeMatrix(code_bytes))
        with self._lock:
            self._layers[layer] = cached
        last_chunk = 0
        while (piece := self._source.code_slice(layer, last_chunk)) is not None:
            if piece.code_set != code_set or self._stopping.is_set():
                # The layer has another code set by now, and `invalidate` has queued it again.
                return
            self._add_slice(cached, piece.ids, piece.codes)
            last_chunk = piece.last_chunk
        with cached.lock:
            cached.is_ready = True
            cached.removed_ids.clear()
        seconds = time.perf_counter() - began
        log.debug("%s: %d codes in memory after %.2f s", layer, len(cached.matrix), seconds)

    def _add_slice(self, cached: _CachedLayer, ids: Ids, codes: Codes) -> None:
        with cached.lock:
            if cached.removed_ids:
                removed = np.fromiter(cached.removed_ids, dtype=np.int64, count=len(cached.removed_ids))
                kept = ~np.isin(ids, removed)
                ids, codes = ids[kept], codes[kept]
            cached.matrix.put(ids, codes, replace=False)
