"""An item of the ledger as the worker needs it, and what is in hand while the worker makes it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from indexd.catalogue import Catalogue, UnknownModel
from indexd.errors import ModelOff, NotRegular, is_machines_fault, is_shortage
from indexd.jobs.result import recipe_of
from indexd.jobs.setbacks import InputGone
from indexd.store.records import ItemRow, JobRow
from indexd.watch.regular import open_regular
from indexd.worker.calls import GuideFiles, Render
from indexd.worker.handle import Call

ROLE = "sdxl"


@dataclass(frozen=True, slots=True)
class Order:
    """One render with everything it needs from this machine."""

    call: Render
    recipe: dict[str, Any]
    folder: Path
    models: tuple[Path, ...]

    def missing(self) -> Path | None:
        """The first model file that is gone."""
        return next((path for path in self.models if not path.exists()), None)


@dataclass(slots=True)
class Hand:
    """A render in the worker. `began_at` and `ended_at` are of the monotonic clock: the time it held the card alone."""

    item: ItemRow
    order: Order
    call: Call
    attempt: int
    began_at: float
    ended_at: float = 0.0

    @property
    def seconds(self) -> float:
        """How long the attempt took."""
        return max(0.0, self.ended_at - self.began_at)


def order_of(job: JobRow, item: ItemRow, catalogue: Catalogue) -> Order:
    """The render of an item.

    Raises ModelOff when a model file is gone, InputGone when a picture is that it goes by; OSError where the
    system has nothing left to look with.
    """
    recipe = recipe_of(job, item)
    named = item.settings["recipe"]
    try:
        checkpoint = catalogue.checkpoint(named["model"]["name"]).path if named.get("model") else None
        loras = {lora["name"]: catalogue.lora(lora["name"]).path for lora in named["loras"]}
        embeddings = {use["name"]: catalogue.embedding(use["name"]).path for use in named.get("embeddings", ())}
        vae = catalogue.vae(named["vae"]["name"]).path if named.get("vae") else None
        controls = [catalogue.control(use["model"]["name"]).path for use in named.get("control", ())]
        adapters = [catalogue.reference(use["model"]["name"]).path for use in named.get("reference", ())]
        upscalers = {name: catalogue.upscaler(name).path for name in _upscalers(named)}
        detectors = {name: catalogue.detector(name).path for name in _detectors(named)}
    except UnknownModel as error:
        raise ModelOff(ROLE, str(error)) from None
    input_path: str | None = item.settings.get("input_path")
    if input_path is not None:
        _check_input(input_path, named["input"]["hash"], "the source picture")
    mask_path: str | None = item.settings.get("mask_path")
    if mask_path is not None:
        _check_input(mask_path, named["mask"]["hash"], "the mask")
    guides = {
        key: _guides(models, item.settings.get(f"{key}_paths", ()), named.get(key, ()))
        for key, models in (("control", controls), ("reference", adapters))
    }
    call = Render(
        recipe,
        "" if checkpoint is None else str(checkpoint),
        _texts(loras),
        None if input_path is None else os.fsencode(input_path),
        None if vae is None else str(vae),
        _texts(embeddings),
        None if mask_path is None else os.fsencode(mask_path),
        guides["control"],
        guides["reference"],
        _texts(upscalers),
        _texts(detectors),
    )
    files = (*loras.values(), *embeddings.values(), *upscalers.values(), *detectors.values(), *controls, *adapters)
    single = tuple(path for path in (checkpoint, vae) if path is not None)
    return Order(call, recipe, Path(os.fsdecode(item.path)).parent, single + files)


def _texts(paths: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in paths.items()}


def _upscalers(named: Mapping[str, Any]) -> set[str]:
    """The upscaler models that the stages of a recipe name."""
    return {one["model"]["name"] for one in (named.get("hires"), named.get("upscale")) if one and one.get("model")}


def _detectors(named: Mapping[str, Any]) -> set[str]:
    return {one["detector"]["name"] for one in named.get("detail", ())}


def _guides(models: Sequence[Path], pictures: Sequence[str], named: Sequence[Any]) -> tuple[GuideFiles, ...]:
    """The files of the controls or of the references; their pictures must be those that were admitted."""
    for path, use in dict(zip(pictures, named, strict=True)).items():
        _check_input(path, use["image"], f"the picture of {use.get('type', 'reference')}")
    return tuple(GuideFiles(str(model), os.fsencode(path)) for model, path in zip(models, pictures, strict=True))


def _check_input(path: str, content_hash: str, what: str) -> None:
    try:
        with open_regular(os.fsencode(path)) as file:
            hasher = blake3()
            while block := file.read(1 << 20):
                hasher.update(block)
    except (OSError, NotRegular) as error:
        if is_shortage(error):
            raise
        # One bad sector or dead share would hold up the jobs that need nothing of it.
        trouble = (
            f"cannot be read ({error}); retry the job when it can"
            if is_machines_fault(error)
            else "is gone; put it back and retry the job"
        )
        raise InputGone(f"{what} {path} {trouble}") from None
    if hasher.hexdigest() != content_hash:
        raise InputGone(f"{what} {path} is not the one that the job was admitted with; drop the job again")
