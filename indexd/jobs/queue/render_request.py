"""An item of the ledger as the worker needs it, and what is in hand while the worker makes it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from indexd.errors import ModelUnavailable, NotRegularFile, is_resource_shortage, is_transient_os_error
from indexd.fs.safe_open import open_regular
from indexd.jobs.job_report import recipe_with_job
from indexd.jobs.queue.retry import InputImageGone
from indexd.model_files import ModelCatalogue, UnknownModel
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.call_handle import CallHandle
from indexd.worker.calls import GENERATOR, ConditioningFiles, Render


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One render with everything it needs from this machine."""

    call: Render
    recipe: dict[str, Any]
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

    Raises ModelOff when a model file is gone, InputGone when a picture is that it goes by; OSError where the
    system has nothing left to look with.
    """
    recipe = recipe_with_job(job, item)
    named = item.settings["recipe"]
    try:
        checkpoint = catalogue.checkpoint(named["model"]["name"]).path if named.get("model") else None
        loras = {lora["name"]: catalogue.lora(lora["name"]).path for lora in named["loras"]}
        embeddings = {use["name"]: catalogue.embedding(use["name"]).path for use in named.get("embeddings", ())}
        vae = catalogue.vae(named["vae"]["name"]).path if named.get("vae") else None
        controls = [catalogue.controlnet(use["model"]["name"]).path for use in named.get("control", ())]
        adapters = [catalogue.ip_adapter(use["model"]["name"]).path for use in named.get("reference", ())]
        upscalers = {name: catalogue.upscaler(name).path for name in _upscaler_names(named)}
        detectors = {name: catalogue.detector(name).path for name in _detector_names(named)}
    except UnknownModel as error:
        raise ModelUnavailable(GENERATOR, str(error)) from None
    input_path: str | None = item.settings.get("input_path")
    if input_path is not None:
        _check_input(input_path, named["input"]["hash"], "the source picture")
    mask_path: str | None = item.settings.get("mask_path")
    if mask_path is not None:
        _check_input(mask_path, named["mask"]["hash"], "the mask")
    guides = {
        key: _conditioning_files(models, item.settings.get(f"{key}_paths", ()), named.get(key, ()))
        for key, models in (("control", controls), ("reference", adapters))
    }
    call = Render(
        recipe,
        "" if checkpoint is None else str(checkpoint),
        _as_strings(loras),
        None if input_path is None else os.fsencode(input_path),
        None if vae is None else str(vae),
        _as_strings(embeddings),
        None if mask_path is None else os.fsencode(mask_path),
        guides["control"],
        guides["reference"],
        _as_strings(upscalers),
        _as_strings(detectors),
    )
    files = (*loras.values(), *embeddings.values(), *upscalers.values(), *detectors.values(), *controls, *adapters)
    single = tuple(path for path in (checkpoint, vae) if path is not None)
    return RenderRequest(call, recipe, Path(os.fsdecode(item.path)).parent, single + files)


def _as_strings(paths: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in paths.items()}


def _upscaler_names(named: Mapping[str, Any]) -> set[str]:
    """The upscaler models that the stages of a recipe name."""
    return {one["model"]["name"] for one in (named.get("hires"), named.get("upscale")) if one and one.get("model")}


def _detector_names(named: Mapping[str, Any]) -> set[str]:
    return {one["detector"]["name"] for one in named.get("detail", ())}


def _conditioning_files(
    models: Sequence[Path], images: Sequence[str], named: Sequence[Any]
) -> tuple[ConditioningFiles, ...]:
    """The files of the controls or of the references; their pictures must be those that were admitted."""
    for path, use in dict(zip(images, named, strict=True)).items():
        _check_input(path, use["image"], f"the picture of {use.get('type', 'reference')}")
    return tuple(ConditioningFiles(str(model), os.fsencode(path)) for model, path in zip(models, images, strict=True))


def _check_input(path: str, content_hash: str, what: str) -> None:
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
