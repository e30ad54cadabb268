"""Clusters all faces of the library in a worker process and reconciles the clusters with the known characters."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexd.background.background_service import BackgroundService
from indexd.characters.clustering.vector_file import write_vector_file
from indexd.characters.face_assigner import FaceAssigner
from indexd.characters.match_clusters import KnownAssignments, reconcile_clusters
from indexd.errors import CallCancelled, IndexdError
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER, FaceAssignments
from indexd.worker.call_handle import CallHandle, WorkerBackend
from indexd.worker.calls import CallProgress, ClusterFaces, FacesClustered, Priority
from indexd_schemas.api.characters import ClusteringState

log = logging.getLogger(__name__)

# The longest time between two progress reports: one million faces on a slow machine.
PROGRESS_TIMEOUT_SECONDS = 600.0
STOP_SECONDS = 10.0
_LAST_KEY = "faces at the latest clustering"


class ClusteringService(BackgroundService):
    """Runs one clustering at a time; the first one starts the thread. It calls `workers` when a clustering begins."""

    def __init__(
        self,
        store: IndexStore,
        workers: Callable[[], WorkerBackend],
        assigner: FaceAssigner,
        folder: Path,
        min_cluster_size: int,
        on_event: Callable[[str, str], None] = lambda _kind, _text: None,
    ) -> None:
        super().__init__("clustering")
        self._store = store
        self._workers = workers
        self._assigner = assigner
        # A fixed name: the next clustering overwrites the file that a killed process left.
        self._vector_file = folder / "faces-to-cluster.f16"
        self._min_cluster_size = min_cluster_size
        self._on_event = on_event
        # All below is guarded by the lock of `condition`.
        self._progress = ClusteringState(state="never")
        self._call: CallHandle | None = None
        self._cancelled = False

    def begin(self) -> bool:
        """Begin a clustering and return True, or return False while one runs.

        Raises IndexdError after `stop`, and when the system cannot start a thread.
        """
        with self.condition:
            if self._progress.state == "running":
                return False
            if self.is_stopping:
                raise IndexdError("cannot start the clustering: indexd is stopping")
            if not self.is_started:
                try:
                    self.start()
                except OSError as error:
                    raise IndexdError(f"cannot start the clustering: {error.strerror}; try again") from error
            self._progress, self._cancelled = ClusteringState(state="running", stage="reading vectors"), False
            self.wake()
        return True

    def is_due(self) -> bool:
        """Whether faces were added or removed since the latest clustering."""
        return self._store.key_values.get(_LAST_KEY) != self._faces_fingerprint()

    def progress(self) -> ClusteringState:
        with self.condition:
            return self._progress

    def cancel(self) -> None:
        """Cancel the running clustering between two of its steps; its result is discarded."""
        with self.condition:
            self._cancelled = True
            call = self._call
        if call is not None:
            call.cancel()

    def wait(self, timeout_seconds: float | None = None) -> ClusteringState:
        """Wait at most `timeout_seconds` for the end of the running clustering."""
        with self.condition:
            self.condition.wait_for(lambda: self._progress.state != "running", timeout_seconds)
            return self._progress

    def stop(self, timeout_seconds: float | None = STOP_SECONDS) -> bool:
        """Cancel the running clustering and wait for its end."""
        self.request_stop()
        self.cancel()
        return self.join(timeout_seconds)

    def run_once(self) -> None:
        """Run the clustering that `begin` requested. A bug in it ends the clustering, not the thread."""
        if self.progress().state != "running":
            return
        started = time.monotonic()
        try:
            end = self._cluster()
        except CallCancelled:
            end = ClusteringState(state="cancelled")
        except (IndexdError, OSError) as error:
            end = ClusteringState(state="failed", problem=str(error))
            log.error("clustering the faces failed: %s", error)
            self._on_event("clustering failed", str(error))
        except Exception as error:
            end = ClusteringState(state="failed", problem=f"a bug: {error}")
            log.exception("clustering the faces failed because of a bug")
        finally:
            # The next clustering overwrites a file that cannot be removed.
            with contextlib.suppress(OSError):
                self._vector_file.unlink(missing_ok=True)
        self._end(end.model_copy(update={"seconds": time.monotonic() - started}))

    def finish(self) -> None:
        """Cancel a clustering that was requested just before `stop`."""
        if self.progress().state == "running":
            self._end(ClusteringState(state="cancelled"))

    def _end(self, progress: ClusteringState) -> None:
        with self.condition:
            self._call, self._progress = None, progress
            self.condition.notify_all()

    def _cluster(self) -> ClusteringState:
        revision = self._store.vectors.active_revision(FACE_LAYER)
        if revision is None:
            return ClusteringState(state="done")
        fingerprint = self._faces_fingerprint()
        ids: list[NDArray[np.int64]] = []

        def parts() -> Iterator[NDArray[np.float16]]:
            for part in self._store.faces.iter_vectors(revision_id=revision.id):
                self._on_progress(CallProgress("reading vectors", sum(map(len, ids)), 0))
                ids.append(part.ids)
                yield part.vectors

        self._vector_file.parent.mkdir(parents=True, exist_ok=True)
        count = write_vector_file(self._vector_file, parts())
        if not count:
            return ClusteringState(state="done")
        regions = np.concatenate(ids)
        call = self._workers().submit(
            ClusterFaces(str(self._vector_file), revision.dim, self._min_cluster_size),
            priority=Priority.BACKGROUND,
            on_progress=self._on_progress,
            timeout_seconds=PROGRESS_TIMEOUT_SECONDS,
        )
        with self.condition:
            self._call = call
        if self._cancelled:
            call.cancel()
        clustered: FacesClustered = call.result()
        applied = self._store.characters.apply_clustering(
            regions, lambda known: reconcile_clusters(clustered.labels, _to_known_faces(known))
        )
        self._store.key_values.set(_LAST_KEY, fingerprint)
        self._on_progress(CallProgress("describing characters", 0, 0))
        self._assigner.refresh()
        assigned = self._assigner.assign_new()
        self._on_event("clustering", f"{count} faces: {applied.moved} moved, {len(applied.created)} new characters")
        return ClusteringState(
            state="done",
            faces=count,
            joined=applied.joined,
            moved=applied.moved,
            made=len(applied.created),
            assigned=assigned,
        )

    def _faces_fingerprint(self) -> str:
        revision, last = self._store.vectors.active_revision(FACE_LAYER), self._store.faces.last_id()
        return f"{revision.id if revision else 0} {self._store.faces.counts().get(FACE_LAYER, 0)} {last}"

    def _on_progress(self, progress: CallProgress) -> None:
        with self.condition:
            if self._cancelled and self._call is None:
                raise CallCancelled("the clustering was cancelled")
            self._progress = self._progress.model_copy(
                update={"stage": progress.stage, "done": progress.done, "total": progress.total}
            )


def _to_known_faces(known: FaceAssignments) -> KnownAssignments:
    return KnownAssignments(known.character, known.confirmed, known.assigned, known.rejected, known.curated)
