"""The real daemon with real worker processes, whose models are instant: what is tested is everything around them.

`python -m tests.faults.instant --home HOME run`. Vectors, faces and pictures are those of indexd.worker.fake_workers; thumbnails,
comparisons and clustering are the real ones. A prompt with the word POISON ends the worker, as a bug in native code would.
What the daemon waits before it looks or tries again is cut to a tenth and less; what it does then is its own.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from indexd.demo.settings_toml import model_tables
from indexd.worker import routing
from indexd.worker.calls import EmbedImages, EmbedText, FacesFound, FindFaces, Render, VerifyModel, WorkerSettings
from indexd.worker.child import call_server
from indexd.worker.fake_workers import DIM, FakeWorkers, seeded_unit_vector
from indexd.worker.session import RenderSession
from tests.support.model_files import SDXL_CHECKPOINT, write_model

POISON = "POISON"
RENDER_STEPS = 5
STEP_SECONDS = 0.02
_real_main, _real_serve = call_server.main, routing.serve


def serve(call: Any, session: RenderSession) -> Any:
    """In the worker: answer at once what would need a model."""
    if not isinstance(call, (EmbedText, EmbedImages, FindFaces, Render, VerifyModel)):
        return _real_serve(call, session)
    if isinstance(call, Render):
        for step in range(RENDER_STEPS):
            session.poll()
            time.sleep(STEP_SECONDS)
            session.progress("denoise", step + 1, RENDER_STEPS)
    if POISON in (call.recipe.prompt if isinstance(call, Render) else " ".join(getattr(call, "texts", ()))):
        os._exit(139)
    result = FakeWorkers().submit(call).result()
    return _by_person(call, result) if isinstance(call, FindFaces) else result


def _by_person(call: FindFaces, found: FacesFound) -> FacesFound:
    """Faces by the name of the file: those of `anna-17.png` are all near to each other."""
    rows = found.vectors.copy()
    for path, regions in zip(call.paths, found.regions, strict=True):
        person = os.path.basename(path).partition(b"-")[0]
        for region in regions:
            if region.row is not None:
                mixed = seeded_unit_vector(person, DIM) + 0.25 * rows[region.row]
                rows[region.row] = mixed / np.linalg.norm(mixed)
    return FacesFound(found.regions, rows.astype(np.float32), found.identity, found.detector_identity, found.problems)


def worker_main(connection: Any, lane: str, settings: WorkerSettings) -> None:
    """In the place of indexd.worker.child.call_server.main, in the worker."""
    call_server.serve = serve  # type: ignore[attr-defined]
    _real_main(connection, lane, settings)


SETTINGS = """\
[watch]
settle_seconds = 0.2
sweep = "500ms"
poll = "300ms"
reconcile = "20s"

{roles}[[faces.detectors]]
path = "{base}"
[characters]
min_faces = 3

[[roots]]
path = "{pictures}"
"""


def make_home(home: Path, *, pictures: Path | None = None, more: str = "") -> Path:
    """A home for the instant daemon, which watches `pictures` (default: a folder in it)."""
    models, pictures = home / "models", pictures or home / "pictures"
    for folder in (models, pictures, home / "inbox", home / "output"):
        folder.mkdir(parents=True, exist_ok=True)
    base = write_model(models / "base.safetensors", SDXL_CHECKPOINT)
    roles = model_tables(generator=base, bge=base, clip_h=base)
    settings = SETTINGS.format(roles=roles, base=base.as_posix(), pictures=pictures.as_posix())
    (home / "indexd.toml").write_text(settings + more, "utf-8")
    return home


def wait_less() -> None:
    """In the daemon: shorter pauses, each of them one that a fault brings about."""
    from indexd import ingest
    from indexd.indexing import batch_failures, dispatcher, role_backoff
    from indexd.indexing.stages import index_stage
    from indexd.jobs.queue import retry
    from indexd.store.sqlite import database
    from indexd.worker.supervisor import lane

    database.BUSY_TIMEOUT_MS = 1000
    dispatcher.POLL_SECONDS = 1.0
    index_stage.NO_FILE_RETRY_SECONDS = 1.0
    batch_failures.RETRY_SECONDS, role_backoff.FIRST_BACKOFF_SECONDS, role_backoff.MAX_BACKOFF_SECONDS = 0.5, 1.0, 5.0
    retry.RETRY_SECONDS, retry.FIRST_CHECK_SECONDS, retry.MAX_CHECK_SECONDS = (0.3, 1.0), 0.3, 2.0
    ingest.RETRY_SECONDS, ingest.MAX_RETRY_SECONDS = 0.5, 5.0
    lane.MAX_RESTART_DELAY_SECONDS = 3.0


if __name__ == "__main__":
    call_server.main = worker_main
    wait_less()
    if len(sys.argv) > 1:
        from indexd.cli import main

        sys.exit(main())
