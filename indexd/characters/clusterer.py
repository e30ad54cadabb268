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

from indexd.characters.identity import Known, reconcile
from indexd.characters.keeper import Keeper
from indexd.characters.vectors import write_rows
from indexd.errors import CallCancelled, IndexdError
from indexd.store.characters import KnownFaces
from indexd.store.index import Store
from indexd.store.revisions import FACE
from indexd.worker.calls import ClusterFaces, FacesClustered, Priority, Progress
from indexd.worker.handle import Call, Submits

log = logging.getLogger(__name__)

# The longest step between two signs of life, at a million faces on a slow machine.
SILENCE_SECONDS = 600.0
STOP_SECONDS = 10.0
_LAST_KEY = "faces at the latest clustering"
State = Literal["never", "running", "done", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How the latest clustering stands. `stage`, `done` and `total` say how far it is while it runs; `joined` counts faces
    that were nobody's and are a character's now, `moved` those that left theirs, `made` new characters, `assigned` faces
    that were given to one afterwards."""

    state: State = "never"
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


class Clusterer:
    """One clustering at a time, in a thread of its own. `workers` is asked for when one begins."""

    def __init__(
        self,
        store: Store,
        workers: Callable[[], Submits],
        keeper: Keeper,
        folder: Path,
        min_cluster_size: int,
        on_event: Callable[[str, str], None] = lambda _kind, _text: None,
    ) -> None:
        self._store = store
        self._workers = workers
        self._keeper = keeper
        # One name for all: what a killed process left is written over.
        self._file = folder / "faces-to-cluster.f16"
        self._min_cluster_size = min_cluster_size
        self._on_event = on_event
        self._lock = threading.Lock()
        self._standing = Standing()
        self._call: Call | None = None
        self._cancelled = False
        self._thread: threading.Thread | None = None

    def start(self) -> bool:
        """Begin one unless one runs; whether it was begun. Raises IndexdError where the system starts no more threads."""
        with self._lock:
            if self._standing.state == "running":
                return False
            before = self._standing
            self._standing, self._cancelled = Standing("running", "reading vectors"), False
            thread = threading.Thread(target=self._run, name="clustering", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._standing = before
                raise IndexdError(f"the clustering cannot begin: {error}; try again") from error
            self._thread = thread
        return True

    def is_due(self) -> bool:
        """Whether faces came or went since the latest clustering."""
        return self._store.meta.get(_LAST_KEY) != self._state_of_faces()

    def standing(self) -> Standing:
        """How it stands now."""
        with self._lock:
            return self._standing

    def cancel(self) -> None:
        """Give up the one that runs, between two of its steps; nothing of it is kept."""
        with self._lock:
            self._cancelled = True
            call = self._call
        if call is not None:
            call.cancel()

    def wait(self, timeout: float | None = None) -> Standing:
        """Wait for the end of the one that runs, at most `timeout` seconds."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return self.standing()

    def stop(self) -> None:
        """Cancel what runs and wait for its end."""
        self.cancel()
        self.wait(STOP_SECONDS)

    def _run(self) -> None:
        began = time.monotonic()
        try:
            end = self._cluster()
        except CallCancelled:
            end = Standing("cancelled")
        except (IndexdError, OSError) as error:
            end = Standing("failed", problem=str(error))
            log.error("the faces were not clustered: %s", error)
            self._on_event("clustering failed", str(error))
        except Exception as error:
            end = Standing("failed", problem=f"a bug: {error}")
            log.exception("a bug while the faces were clustered")
        finally:
            # What cannot be taken away is written over the next time.
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)
        with self._lock:
            self._call = None
            self._standing = replace(end, seconds=time.monotonic() - began)

    def _cluster(self) -> Standing:
        revision = self._store.vectors.active(FACE)
        if revision is None:
            return Standing("done")
        seen = self._state_of_faces()
        ids: list[NDArray[np.int64]] = []

        def parts() -> Iterator[NDArray[np.float16]]:
            for part in self._store.faces.slices(revision_id=revision.id):
                self._tell(Progress("reading vectors", sum(map(len, ids)), 0))
                ids.append(part.ids)
                yield part.vectors

        self._file.parent.mkdir(parents=True, exist_ok=True)
        count = write_rows(self._file, parts())
        if not count:
            return Standing("done")
        regions = np.concatenate(ids)
        call = self._workers().submit(
            ClusterFaces(str(self._file), revision.dim, self._min_cluster_size),
            priority=Priority.BACKGROUND,
            on_progress=self._tell,
            timeout_seconds=SILENCE_SECONDS,
        )
        with self._lock:
            self._call = call
        if self._cancelled:
            call.cancel()
        clustered: FacesClustered = call.result()
        settled = self._store.characters.settle(regions, lambda known: reconcile(clustered.labels, _known(known)))
        self._store.meta.set(_LAST_KEY, seen)
        self._tell(Progress("describing characters", 0, 0))
        self._keeper.refresh()
        assigned = self._keeper.assign_new()
        self._on_event("clustering", f"{count} faces: {settled.moved} moved, {len(settled.made)} new characters")
        return Standing(
            "done",
            faces=count,
            joined=settled.joined,
            moved=settled.moved,
            made=len(settled.made),
            assigned=assigned,
        )

    def _state_of_faces(self) -> str:
        revision, last = self._store.vectors.active(FACE), self._store.faces.last_id()
        return f"{revision.id if revision else 0} {self._store.faces.counts().get(FACE, 0)} {last}"

    def _tell(self, progress: Progress) -> None:
        with self._lock:
            if self._cancelled and self._call is None:
                raise CallCancelled("the clustering was cancelled")
            self._standing = replace(self._standing, stage=progress.stage, done=progress.done, total=progress.total)


def _known(known: KnownFaces) -> Known:
    return Known(known.character, known.confirmed, known.assigned, known.rejected, known.kept)
