"""Whether a file is the very picture that an item of a job was to become: told by the recipe inside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from indexd.errors import NotAnImage, NotRegularFile, raise_if_transient
from indexd.fs.safe_open import open_regular
from indexd.images.image_reader import read_image
from indexd.jobs.files.atomic import FaultHook, fsync_folder, no_fault, write_new
from indexd.jobs.files.output_names import PNG_SUFFIX, free_file_name
from indexd.jobs.job_report import render_report
from indexd.jobs.queue.retry import OutputFolderGone
from indexd.store.protocols import JobOutputRepository
from indexd.store.records import JobItemRow
from indexd.worker.calls import Rendered
from indexd_schemas.recipe import Recipe

RECIPE_CHUNK = "png:indexd"
PNG_TRAILER = b"\x00\x00\x00\x00IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True)
class ExistingOutput:
    """A picture of ours: its content, and the scores that it states."""

    content_hash: bytes
    scores: Mapping[str, float]


def find_existing_output(path: Path, recipe: Recipe) -> ExistingOutput | None:
    """The picture at `path` if it was made from `recipe` (its `job` included) and is whole, else None.

    What the worker fills in (hashes, number format, version, scores) is not compared: None in `recipe` stands for anything.
    Raises OSError where the machine keeps it from being read: that is no answer, and a second picture must not be made.
    """
    try:
        with open_regular(os.fsencode(path)) as file:
            size = os.fstat(file.fileno()).st_size
            facts = read_image(file, size, path.name)
            file.seek(max(0, size - len(PNG_TRAILER)))
            whole = file.read() == PNG_TRAILER
    except OSError as error:
        raise_if_transient(error)
        return None
    except (NotRegularFile, NotAnImage):
        return None
    text = next((chunk.text for chunk in facts.metadata.raw if chunk.key == RECIPE_CHUNK), None)
    if not whole or text is None:
        return None
    try:
        inside = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not _matches_recipe(recipe.model_dump(mode="json"), inside):
        return None
    return ExistingOutput(facts.content_hash, {one.name: one.value for one in facts.metadata.scores})


def _matches_recipe(wanted: Any, inside: Any) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, Mapping):
        return isinstance(inside, Mapping) and all(
            _matches_recipe(value, inside.get(key)) for key, value in wanted.items()
        )
    if isinstance(wanted, (list, tuple)):
        same = isinstance(inside, list) and len(inside) == len(wanted)
        return same and all(_matches_recipe(one, other) for one, other in zip(wanted, inside, strict=True))
    return bool(wanted == inside)


# A rendered picture -> its file, exactly once, wherever the process dies in between. The path of an item stands in the ledger before anything is written. The picture is written under a name of its own in the same folder, synced, linked to its path (which fails where something is there), the folder is synced, and only then the row says "done". So after a death either the row says it, or the file at the path is ours and is adopted, or nothing is there and the picture is made again. Where somebody else's file lies at the path, the ledger gets a new path first.


@dataclass(frozen=True, slots=True)
class PublishedImage:
    """A picture in its place. `adopted` = it was there already, made before the process ended."""

    path: Path
    content_hash: bytes
    adopted: bool
    scores: Mapping[str, float]


class Publisher:
    """Puts pictures in their places."""

    def __init__(self, ledger: JobOutputRepository, ledger_id: str, output: Path, fault: FaultHook = no_fault) -> None:
        """`ledger_id` tells apart the unfinished files of several indexes that publish into one folder."""
        self._ledger = ledger
        self._ledger_id = ledger_id
        self._output = output
        self._fault = fault

    def publish(self, item: JobItemRow, recipe: Recipe, rendered: Rendered, seconds: float) -> PublishedImage:
        """Put what was rendered in the item's place and say so in the ledger.

        Raises StorageFull, FolderGone (both: nothing was lost, try again with the same picture) or OSError.
        """
        final = Path(os.fsdecode(item.path))
        self._ensure_folder(final.parent)
        while True:
            try:
                write_new(self.temp_path(final.parent, item.id), final, rendered.png, self._fault)
            except FileExistsError:
                adopted = self._adopt(item, final, recipe, seconds)
                if adopted is not None:
                    return adopted
                final = self._choose_other_path(item, final)
                continue
            scores: dict[str, float] = {name: one.value for name, one in (rendered.recipe.scores or {}).items()}
            made = PublishedImage(final, blake3(rendered.png).digest(), adopted=False, scores=scores)
            return self._record(item, made, seconds, render_report(rendered))

    def adopt(self, item: JobItemRow, recipe: Recipe) -> PublishedImage | None:
        """The item's picture if it is there already, made before the process ended; the ledger then says so.

        What such an end left unfinished is cleared away.
        """
        final = Path(os.fsdecode(item.path))
        self.temp_path(final.parent, item.id).unlink(missing_ok=True)
        return self._adopt(item, final, recipe, 0.0)

    def temp_path(self, folder: Path, item_id: int) -> Path:
        """The name under which an item's picture is written; hidden, so that no watcher takes it for a picture."""
        return folder / f".indexd-{self._ledger_id}-{item_id}.part"

    def _adopt(self, item: JobItemRow, final: Path, recipe: Recipe, seconds: float) -> PublishedImage | None:
        if not os.path.lexists(final):
            return None
        ours = find_existing_output(final, recipe)
        if ours is None:
            return None
        fsync_folder(final.parent)
        return self._record(item, PublishedImage(final, ours.content_hash, adopted=True, scores=ours.scores), seconds)

    def _record(
        self, item: JobItemRow, published: PublishedImage, seconds: float, report: Mapping[str, Any] | None = None
    ) -> PublishedImage:
        path = os.fsencode(published.path)
        self._ledger.mark_published(
            item.id, path, published.content_hash, seconds, report=report, scores=published.scores
        )
        self._fault("row written")
        return published

    def _choose_other_path(self, item: JobItemRow, final: Path) -> Path:
        stem = final.name.removesuffix(PNG_SUFFIX)
        there = {name.casefold() for name in os.listdir(final.parent)}
        other = final.with_name(free_file_name(stem, there.__contains__))
        self._ledger.change_path(item.id, os.fsencode(other))
        self._fault("path changed")
        return other

    def _ensure_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        below_output = folder == self._output or self._output in folder.parents
        base = self._output if below_output else folder
        if not base.is_dir() and not base.parent.is_dir():
            raise OutputFolderGone(f"the folder {folder} is gone, and so is {base.parent}; is its disk mounted?")
        folder.mkdir(parents=True, exist_ok=True)
        fsync_folder(folder.parent)
