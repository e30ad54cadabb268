"""The clustering of the whole library: vectors out, groups back from the worker, identities kept, what is left assigned."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import write_vector_file
from indexd.characters.face_assigner import FaceAssigner
from indexd.characters.match_clusters import KnownAssignments, reconcile_clusters
from indexd.errors import CallCancelled, IndexdError
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER, FaceAssignments
from indexd.worker.call_handle import CallHandle, WorkerBackend
from indexd.worker.calls import CallProgress, ClusterFaces, FacesClustered, Priority

log = logging.getLogger(__name__)

# The longest step between two signs of life, at a million faces on a slow machine.
PROGRESS_TIMEOUT_SECONDS = 600.0
STOP_SECONDS = 10.0
_LAST_KEY = "faces at the latest clustering"
ClusteringPhase = Literal["never", "running", "done", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class ClusteringProgress:
    """How the latest clustering stands. `stage`, `done` and `total` say how far it is while it runs; `joined` counts faces
    that were nobody's and are a character's now, `moved` those that left theirs, `made` new characters, `assigned` faces
    that were given to one afterwards."""

    state: ClusteringPhase = "never"
    stage: str = ""
    done: int = 0
    total: int = 0
    faces: int = 0
    joined: int = 0
    moved: int = 0
    made: int = 0
    assigned: int = 0
    seconds: float = 0.0
    problem: str = ""


class ClusteringService:
    """One clustering at a time, in a thread of its own. `workers` is asked for when one begins."""

    def __init__(
        self,
        store: IndexStore,
        workers: Callable[[], WorkerBackend],
        assigner: FaceAssigner,
        folder: Path,
        min_cluster_size: int,
        on_event: Callable[[str, str], None] = lambda _kind, _text: None,
    ) -> None:
        self._store = store
        self._workers = workers
        self._assigner = assigner
        # One name for all: what a killed process left is written over.
        self._vector_file = folder / "faces-to-cluster.f16"
        self._min_cluster_size = min_cluster_size
        self._on_event = on_event
        self._lock = threading.Lock()
        self._progress = ClusteringProgress()
        self._call: CallHandle | None = None
        self._cancelled = False
        self._thread: threading.Thread | None = None

    def start(self) -> bool:
        """Begin one unless one runs; whether it was begun. Raises IndexdError where the system starts no more threads."""
        with self._lock:
            if self._progress.state == "running":
                return False
            before = self._progress
            self._progress, self._cancelled = ClusteringProgress("running", "reading vectors"), False
            thread = threading.Thread(target=self._run, name="clustering", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._progress = before
                raise IndexdError(f"the clustering cannot begin: {error}; try again") from error
            self._thread = thread
        return True

    def is_due(self) -> bool:
        """Whether faces came or went since the latest clustering."""
        return self._store.key_values.get(_LAST_KEY) != self._faces_fingerprint()

    def progress(self) -> ClusteringProgress:
        """How it stands now."""
        with self._lock:
            return self._progress

    def cancel(self) -> None:
        """Give up the one that runs, between two of its steps; nothing of it is kept."""
        with self._lock:
            self._cancelled = True
            call = self._call
        if call is not None:
            call.cancel()

    def wait(self, timeout: float | None = None) -> ClusteringProgress:
        """Wait for the end of the one that runs, at most `timeout` seconds."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return self.progress()

    def stop(self) -> None:
        """Cancel what runs and wait for its end."""
        self.cancel()
        self.wait(STOP_SECONDS)

    def _run(self) -> None:
        began = time.monotonic()
        try:
            end = self._cluster()
        except CallCancelled:
            end = ClusteringProgress("cancelled")
        except (IndexdError, OSError) as error:
            end = ClusteringProgress("failed", problem=str(error))
            log.error("the faces were not clustered: %s", error)
            self._on_event("clustering failed", str(error))
        except Exception as error:
            end = ClusteringProgress("failed", problem=f"a bug: {error}")
            log.exception("a bug while the faces were clustered")
        finally:
            # What cannot be taken away is written over the next time.
            with contextlib.suppress(OSError):
                self._vector_file.unlink(missing_ok=True)
        with self._lock:
            self._call = None
            self._progress = replace(end, seconds=time.monotonic() - began)

    def _cluster(self) -> ClusteringProgress:
        revision = self._store.vectors.active_revision(FACE_LAYER)
        if revision is None:
            return ClusteringProgress("done")
        seen = self._faces_fingerprint()
        ids: list[NDArray[np.int64]] = []

        def parts() -> Iterator[NDArray[np.float16]]:
            for part in self._store.faces.iter_vectors(revision_id=revision.id):
                self._on_progress(CallProgress("reading vectors", sum(map(len, ids)), 0))
                ids.append(part.ids)
                yield part.vectors

        self._vector_file.parent.mkdir(parents=True, exist_ok=True)
        count = write_vector_file(self._vector_file, parts())
        if not count:
            return ClusteringProgress("done")
        regions = np.concatenate(ids)
        call = self._workers().submit(
            ClusterFaces(str(self._vector_file), revision.dim, self._min_cluster_size),
            priority=Priority.BACKGROUND,
            on_progress=self._on_progress,
            timeout_seconds=PROGRESS_TIMEOUT_SECONDS,
        )
        with self._lock:
            self._call = call
        if self._cancelled:
            call.cancel()
        clustered: FacesClustered = call.result()
        settled = self._store.characters.apply_clustering(
            regions, lambda known: reconcile_clusters(clustered.labels, _to_known_faces(known))
        )
        self._store.key_values.set(_LAST_KEY, seen)
        self._on_progress(CallProgress("describing characters", 0, 0))
        self._assigner.refresh()
        assigned = self._assigner.assign_new()
        self._on_event("clustering", f"{count} faces: {settled.moved} moved, {len(settled.created)} new characters")
        return ClusteringProgress(
            "done",
            faces=count,
            joined=settled.joined,
            moved=settled.moved,
            made=len(settled.created),
            assigned=assigned,
        )

    def _faces_fingerprint(self) -> str:
        revision, last = self._store.vectors.active_revision(FACE_LAYER), self._store.faces.last_id()
        return f"{revision.id if revision else 0} {self._store.faces.counts().get(FACE_LAYER, 0)} {last}"

    def _on_progress(self, progress: CallProgress) -> None:
        with self._lock:
            if self._cancelled and self._call is None:
                raise CallCancelled("the clustering was cancelled")
            self._progress = replace(self._progress, stage=progress.stage, done=progress.done, total=progress.total)


def _to_known_faces(known: FaceAssignments) -> KnownAssignments:
    return KnownAssignments(known.character, known.confirmed, known.assigned, known.rejected, known.curated)
