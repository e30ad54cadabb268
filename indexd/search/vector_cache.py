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

from indexd.errors import StoreError, StoreUnavailable, may_pass
from indexd.search.code_matrix import CodeMatrix
from indexd.store.code_index import Candidates, CodesOf, Wanted
from indexd.store.estimate import Aim
from indexd.store.id_set import IdSet
from indexd.store.revisions import Key, key_of
from indexd.store.vectors import Vectors

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0

Codes = NDArray[np.uint8]
Ids = NDArray[np.int64]


@dataclass(slots=True)
class _Layer:
    """One layer's codes. `following` is held by whoever changes them, `removed` is kept until they are complete."""

    of: CodesOf
    matrix: CodeMatrix
    ready: bool = False
    removed: set[int] = field(default_factory=set)
    following: threading.Lock = field(default_factory=threading.Lock)


class VectorCache:
    """A CodeIndex over `vectors`. `fail` hears of an error that is a bug; questions then go on through the tables."""

    def __init__(self, vectors: Vectors, layers: Iterable[str], fail: Callable[[BaseException], None]) -> None:
        self._vectors = vectors
        self._fail = fail
        self._lock = threading.Lock()
        self._layers: dict[str, _Layer] = {}
        self._wanted: queue.Queue[str | None] = queue.Queue()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vector-cache", daemon=True)
        for layer in layers:
            self._wanted.put(layer)

    def start(self) -> None:
        """Begin to follow the writer, and to fill the layers in the background."""
        self._vectors.attach(self)
        self._thread.start()

    def stop(self) -> None:
        """Let go: questions go through the tables again."""
        self._vectors.attach(None)
        self._leaving.set()
        self._wanted.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def wait(self) -> None:
        """Return when everything that was to be filled is filled (or found to be empty)."""
        self._wanted.join()

    @property
    def nbytes(self) -> int:
        """The memory that the codes take."""
        with self._lock:
            return sum(layer.matrix.nbytes for layer in self._layers.values())

    def ready(self, layer: str) -> bool:
        """Whether questions to the layer are answered from memory."""
        with self._lock:
            held = self._layers.get(layer)
            return held is not None and held.ready

    def find(self, of: CodesOf, aim: Aim, wanted: Wanted, among: IdSet | None) -> Candidates | None:
        """See CodeIndex."""
        held = self._held(of)
        if held is None or not held.ready:
            return None
        return held.matrix.nearest(aim, wanted, among.array if among is not None else None)

    def put(self, of: CodesOf, ids: Ids, codes: Codes) -> None:
        """See CodeIndex."""
        held = self._held(of)
        if held is not None:
            with held.following:
                held.removed.difference_update(ids.tolist())
                held.matrix.put(ids, codes)

    def removed(self, key: Key, ids: Ids) -> None:
        """See CodeIndex."""
        with self._lock:
            layers = [held for layer, held in self._layers.items() if key_of(layer) == key]
        for held in layers:
            with held.following:
                if not held.ready:
                    held.removed.update(ids.tolist())
                held.matrix.remove(ids)

    def changed(self, layer: str) -> None:
        """See CodeIndex."""
        with self._lock:
            self._layers.pop(layer, None)
        self._wanted.put(layer)

    def _held(self, of: CodesOf) -> _Layer | None:
        with self._lock:
            held = self._layers.get(of.layer)
        return held if held is not None and held.of == of else None

    def _run(self) -> None:
        while (layer := self._wanted.get()) is not None:
            try:
                self._fill(layer)
            except (StoreUnavailable, OSError) as error:
                if not may_pass(error):
                    self._fail(error)
                    raise
                log.warning("%s is not held in memory yet, questions to it take longer: %s", layer, error)
                if not self._leaving.wait(RETRY_SECONDS):
                    self._wanted.put(layer)
            except StoreError as error:
                log.warning("%s is not held in memory, questions to it take longer: %s", layer, error)
            except BaseException as error:
                self._fail(error)
                raise
            finally:
                self._wanted.task_done()
        self._wanted.task_done()

    def _fill(self, layer: str) -> None:
        began = time.perf_counter()
        in_use = self._vectors.codes_in_use(layer)
        if in_use is None:
            return
        of, code_bytes = in_use
        held = _Layer(of, CodeMatrix(code_bytes))
        with self._lock:
            self._layers[layer] = held
        last_chunk = 0
        while (piece := self._vectors.code_slice(layer, last_chunk)) is not None:
            if piece.of != of or self._leaving.is_set():
                # The layer compares other codes by now, and `changed` has asked for those.
                return
            self._add(held, piece.ids, piece.codes)
            last_chunk = piece.last_chunk
        with held.following:
            held.ready = True
            held.removed.clear()
        seconds = time.perf_counter() - began
        log.debug("%s: %d codes in memory after %.2f s", layer, len(held.matrix), seconds)

    def _add(self, held: _Layer, ids: Ids, codes: Codes) -> None:
        with held.following:
            if held.removed:
                there = ~np.isin(ids, np.fromiter(held.removed, dtype=np.int64, count=len(held.removed)))
                ids, codes = ids[there], codes[there]
            held.matrix.put(ids, codes, replace=False)
