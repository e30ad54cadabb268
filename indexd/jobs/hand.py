"""An item of the ledger as the worker needs it, and what is in hand while the worker makes it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from indexd.catalogue import Catalogue, UnknownModel
from indexd.errors import ModelOff, NotRegular
from indexd.jobs.result import recipe_of
from indexd.jobs.setbacks import InputGone
from indexd.store.records import ItemRow, JobRow
from indexd.watch.regular import open_regular
from indexd.worker.calls import Render
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
    """The render of an item. Raises ModelOff when a model file is gone, InputGone when the source picture or its mask is."""
    recipe = recipe_of(job, item)
    named = item.settings["recipe"]
    try:
        checkpoint = catalogue.checkpoint(named["model"]["name"]).path
        loras = {lora["name"]: catalogue.lora(lora["name"]).path for lora in named["loras"]}
        embeddings = {use["name"]: catalogue.embedding(use["name"]).path for use in named.get("embeddings", ())}
        vae = catalogue.vae(named["vae"]["name"]).path if named.get("vae") else None
    except UnknownModel as error:
        raise ModelOff(ROLE, str(error)) from None
    input_path: str | None = item.settings.get("input_path")
    if input_path is not None:
        _check_input(input_path, named["input"]["hash"], "source picture")
    mask_path: str | None = item.settings.get("mask_path")
    if mask_path is not None:
        _check_input(mask_path, named["mask"]["hash"], "mask")
    call = Render(
        recipe,
        str(checkpoint),
        {name: str(path) for name, path in loras.items()},
        None if input_path is None else os.fsencode(input_path),
        None if vae is None else str(vae),
        {name: str(path) for name, path in embeddings.items()},
        None if mask_path is None else os.fsencode(mask_path),
    )
    files = (checkpoint, *loras.values(), *(() if vae is None else (vae,)), *embeddings.values())
    return Order(call, recipe, Path(os.fsdecode(item.path)).parent, files)


def _check_input(path: str, content_hash: str, what: str) -> None:
    try:
        with open_regular(os.fsencode(path)) as file:
            hasher = blake3()
            while block := file.read(1 << 20):
                hasher.update(block)
    except (OSError, NotRegular):
        raise InputGone(f"the {what} {path} is gone; put it back and retry the job") from None
    if hasher.hexdigest() != content_hash:
        raise InputGone(f"the {what} {path} is not the one that the job was admitted with; drop the job again")
