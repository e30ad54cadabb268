"""The coarse codes of every layer in memory: what the daemon answers from while sqlite-vec keeps the truth.

A layer is filled in the background, slice by slice, while questions go through the tables; from then on it follows the
writer. The order of things keeps it right without stopping the writer: a layer hears of writes *before* its first slice
is read, what was heard wins over what a slice says, and what was removed meanwhile is not added again. A stale code could
at worst waste a candidate, since every candidate is scored from its stored vector.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexd.errors import StoreError, StoreUnavailable, is_transient
from indexd.store.sqlite.id_set import IdSet
from indexd.store.vectors.revisions import VectorKey, vector_key
from indexd.store.vectors.vectors import Vectors
from indexd.vector_index.code_index import CandidateLimits, Candidates, CodeSetId
from indexd.vector_index.code_matrix import CodeMatrix
from indexd.vector_index.estimate import QueryCode

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0

Codes = NDArray[np.uint8]
Ids = NDArray[np.int64]


@dataclass(slots=True)
class _CachedLayer:
    """One layer's codes. `following` is held by whoever changes them, `removed` is kept until they are complete."""

    code_set: CodeSetId
    matrix: CodeMatrix
    is_ready: bool = False
    removed_ids: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class VectorCache:
    """A CodeIndex over `vectors`. `fail` hears of an error that is a bug; questions then go on through the tables."""

    def __init__(self, vectors: Vectors, layers: Iterable[str], on_failure: Callable[[BaseException], None]) -> None:
        self._vectors = vectors
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._layers: dict[str, _CachedLayer] = {}
        self._fill_queue: queue.Queue[str | None] = queue.Queue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vector-cache", daemon=True)
        for layer in layers:
            self._fill_queue.put(layer)

    def start(self) -> None:
        """Begin to follow the writer, and to fill the layers in the background."""
        self._vectors.attach(self)
        self._thread.start()

    def stop(self) -> None:
        """Let go: questions go through the tables again."""
        self._vectors.attach(None)
        self._stopping.set()
        self._fill_queue.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def wait_until_filled(self) -> None:
        """Return when everything that was to be filled is filled (or found to be empty)."""
        self._fill_queue.join()

    @property
    def nbytes(self) -> int:
        """The memory that the codes take."""
        with self._lock:
            return sum(layer.matrix.nbytes for layer in self._layers.values())

    def is_ready(self, layer: str) -> bool:
        """Whether questions to the layer are answered from memory."""
        with self._lock:
            held = self._layers.get(layer)
            return held is not None and held.is_ready

    def find(
        self, code_set: CodeSetId, query: QueryCode, limits: CandidateLimits, allowed_ids: IdSet | None
    ) -> Candidates | None:
        """See CodeIndex."""
        held = self._cached_layer(code_set)
        if held is None or not held.is_ready:
            return None
        return held.matrix.nearest(query, limits, allowed_ids.array if allowed_ids is not None else None)

    def put(self, code_set: CodeSetId, ids: Ids, codes: Codes) -> None:
        """See CodeIndex."""
        held = self._cached_layer(code_set)
        if held is not None:
            with held.lock:
                held.removed_ids.difference_update(ids.tolist())
                held.matrix.put(ids, codes)

    def remove(self, key: VectorKey, ids: Ids) -> None:
        """See CodeIndex."""
        with self._lock:
            layers = [held for layer, held in self._layers.items() if vector_key(layer) == key]
        for held in layers:
            with held.lock:
                if not held.is_ready:
                    held.removed_ids.update(ids.tolist())
                held.matrix.remove(ids)

    def invalidate(self, layer: str) -> None:
        """See CodeIndex."""
        with self._lock:
            self._layers.pop(layer, None)
        self._fill_queue.put(layer)

    def _cached_layer(self, code_set: CodeSetId) -> _CachedLayer | None:
        with self._lock:
            held = self._layers.get(code_set.layer)
        return held if held is not None and held.code_set == code_set else None

    def _run(self) -> None:
        while (layer := self._fill_queue.get()) is not None:
            try:
                self._fill(layer)
            except (StoreUnavailable, OSError) as error:
                if not is_transient(error):
                    self._on_failure(error)
                    raise
                log.warning("%s is not held in memory yet, questions to it take longer: %s", layer, error)
                if not self._stopping.wait(RETRY_SECONDS):
                    self._fill_queue.put(layer)
            except StoreError as error:
                log.warning("%s is not held in memory, questions to it take longer: %s", layer, error)
            except BaseException as error:
                self._on_failure(error)
                raise
            finally:
                self._fill_queue.task_done()
        self._fill_queue.task_done()

    def _fill(self, layer: str) -> None:
        began = time.perf_counter()
        in_use = self._vectors.active_codes(layer)
        if in_use is None:
            return
        of, code_bytes = in_use
        held = _CachedLayer(of, CodeMatrix(code_bytes))
        with self._lock:
            self._layers[layer] = held
        last_chunk = 0
        while (piece := self._vectors.code_slice(layer, last_chunk)) is not None:
            if piece.code_set != of or self._stopping.is_set():
                # The layer compares other codes by now, and `changed` has asked for those.
                return
            self._add_slice(held, piece.ids, piece.codes)
            last_chunk = piece.last_chunk
        with held.lock:
            held.is_ready = True
            held.removed_ids.clear()
        seconds = time.perf_counter() - began
        log.debug("%s: %d codes in memory after %.2f s", layer, len(held.matrix), seconds)

    def _add_slice(self, cached: _CachedLayer, ids: Ids, codes: Codes) -> None:
        with cached.lock:
            if cached.removed_ids:
                there = ~np.isin(ids, np.fromiter(cached.removed_ids, dtype=np.int64, count=len(cached.removed_ids)))
                ids, codes = ids[there], codes[there]
            cached.matrix.put(ids, codes, replace=False)
