"""An item of the ledger as the worker needs it, and the render while the worker has it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from indexd.errors import ModelUnavailable, NotRegularFile, is_resource_shortage, is_transient_os_error
from indexd.fs.safe_open import open_regular
from indexd.jobs.job_report import recipe_with_job
from indexd.jobs.queue.retry import InputImageGone
from indexd.model_files import ModelCatalogue, UnknownModel
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.call_handle import CallHandle
from indexd.worker.calls import GENERATOR, FileRef, Render
from indexd_schemas.recipe_part import FileKey


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One render with everything it needs from this machine."""

    call: Render
    folder: Path
    models: tuple[Path, ...]

    def missing_model(self) -> Path | None:
        """The first model file that is gone."""
        return next((path for path in self.models if not path.exists()), None)


@dataclass(slots=True)
class InFlightRender:
    """A render in the worker. `began_at` and `ended_at` are of the monotonic clock: the time it held the card alone."""

    item: JobItemRow
    request: RenderRequest
    call: CallHandle
    attempt: int
    started_at: float
    ended_at: float = 0.0

    @property
    def seconds(self) -> float:
        """How long the attempt took."""
        return max(0.0, self.ended_at - self.started_at)


def build_render_request(job: JobRow, item: JobItemRow, catalogue: ModelCatalogue) -> RenderRequest:
    """The render of an item.

    Raises ModelUnavailable where a model file is gone, InputImageGone where an image is; OSError where the system has no
    handle or memory left to read with.
    """
    recipe = recipe_with_job(job, item)
    nouns, paths = recipe.images(), item.settings.get("images", {})
    files: dict[FileKey, FileRef] = {}
    for key in recipe.file_keys():
        if key.kind == "image":
            _check_image(paths[key.name], key.name, nouns[key.name])
            files[key] = FileRef(os.fsencode(paths[key.name]), key.name)
            continue
        try:
            files[key] = FileRef(os.fsencode(catalogue.find(key.kind, key.name).path))
        except UnknownModel as error:
            raise ModelUnavailable(GENERATOR, str(error)) from None
    models = tuple(Path(os.fsdecode(file.path)) for key, file in files.items() if key.kind != "image")
    return RenderRequest(Render(recipe, files), Path(os.fsdecode(item.path)).parent, models)


def _check_image(path: str, content_hash: str, what: str) -> None:
    try:
        with open_regular(os.fsencode(path)) as file:
            hasher = blake3()
            while block := file.read(1 << 20):
                hasher.update(block)
    except (OSError, NotRegularFile) as error:
        if is_resource_shortage(error):
            raise
        # One bad sector or dead share would hold up the jobs that need nothing of it.
        trouble = (
            f"cannot be read ({error}); retry the job when it can"
            if is_transient_os_error(error)
            else "is gone; put it back and retry the job"
        )
        raise InputImageGone(f"{what} {path} {trouble}") from None
    if hasher.hexdigest() != content_hash:
        raise InputImageGone(f"{what} {path} is not the one that the job was admitted with; drop the job again")
