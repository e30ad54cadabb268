"""An index with faces of known identity, and a clustering worker in the same process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.support.synthetic_faces import SyntheticFaces
from indexd.errors import CallCancelled
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER
from indexd.worker.call_handle import CallHandle, LaneStatus, OnProgress
from indexd.worker.calls import AnyCall, CallProgress, FoundRegion, Priority
from indexd.worker.routing import serve
from tests.unit.characters.labelled_faces import DIM
from tests.unit.store.sample_rows import Library


class FaceLibrary:
    """Pictures with one face each (or several, see `a_picture`), by region id in the order in which they came."""

    def __init__(self, store: IndexStore, library: Library) -> None:
        self.store = store
        self.library = library
        self.regions: list[int] = []
        self.truth: list[int] = []
        self.images: list[int] = []

    def add(self, faces: SyntheticFaces, a_picture: int = 1) -> NDArray[np.int64]:
        """Put these faces in; their region ids."""
        revision = self.store.faces.activate("model/1", DIM, "eyes/1")
        start = len(self.regions)
        found: dict[int, list[FoundRegion]] = {}
        for row in range(len(faces.rows)):
            if row % a_picture == 0:
                image = self.library.add(f"{start + row}.png", stages=(FACE_LAYER,))
                self.images.append(image)
            place = row % a_picture
            found.setdefault(image, []).append(
                FoundRegion("face", "eyes/1", 0.05 + 0.3 * place, 0.1, 0.2, 0.2, 0.9, 80, 5.0, 0.5 + row % 7 / 20, row)
            )
        self.store.faces.put(revision, found, faces.rows)
        new = [
            row.id
            for image in found
            for row in sorted(self.store.faces.of_image(image), key=lambda row: row.region.left)
        ]
        self.regions += new
        self.truth += faces.truth.tolist()
        return np.array(new)

    def whose(self, regions: Sequence[int] | None = None) -> NDArray[np.int64]:
        """The character of each of these faces, or of all; 0 = nobody."""
        asked = self.regions if regions is None else list(regions)
        members = self.store.characters.memberships_by_region(asked)
        return np.array([members[one].character_id if one in members else 0 for one in asked])


class HereWorkers:
    """Serves a call in the thread that submits it. `cancel_at` names a stage in which it is cancelled."""

    def __init__(self) -> None:
        self.calls: list[AnyCall] = []
        self.cancel_at = ""

    def submit(
        self,
        call: AnyCall,
        *,
        priority: Priority = Priority.JOB,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
    ) -> CallHandle:
        self.calls.append(call)
        handle = CallHandle(call)
        try:
            handle.finish(serve(call, _Session(self.cancel_at, on_progress)))  # type: ignore[arg-type]
        except BaseException as error:
            handle.fail(error)
        return handle

    def status(self) -> Sequence[LaneStatus]:
        return ()

    def role_problem(self, role: str) -> str | None:
        return None

    def role_fingerprint(self, role: str) -> str | None:
        return None

    def stop(self, deadline: float) -> None:
        """Nothing runs."""


class _Session:
    def __init__(self, cancel_at: str, on_progress: OnProgress | None) -> None:
        self._cancel_at = cancel_at
        self._on_progress = on_progress

    def poll(self) -> None:
        """Nobody is in a hurry."""

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage == self._cancel_at:
            raise CallCancelled(stage)
        if self._on_progress is not None:
            self._on_progress(CallProgress(stage, done, total))
