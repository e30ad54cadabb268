"""Publishes artifacts: a file is put in its place whole, under a name that is free, and the ledger says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from indexd.images.file_hash import hash_file_hex
from indexd.jobs.files.atomic import FaultHook, fsync_folder, no_fault, write_new
from indexd.jobs.files.output_names import free_file_name
from indexd.jobs.kinds import Artifact, ExistingOutput
from indexd.jobs.queue.retry import OutputFolderGone
from indexd.store.protocols import JobOutputRepository
from indexd.store.records import JobItemRow

Adopt = Callable[[Path], ExistingOutput | None]
"""Whether the file at a path is the item's artifact already."""


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """An artifact in its place. `adopted` = it was there already, published before the process ended."""

    path: Path
    content_hash: bytes
    adopted: bool
    scores: Mapping[str, float]


class Publisher:
    """Puts artifacts in their places."""

    def __init__(self, ledger: JobOutputRepository, ledger_id: str, output: Path, fault: FaultHook = no_fault) -> None:
        """`ledger_id` tells apart the unfinished files of several indexes that publish into one folder."""
        self._ledger = ledger
        self._ledger_id = ledger_id
        self._output = output
        self._fault = fault

    def publish(self, item: JobItemRow, artifact: Artifact, seconds: float, adopt: Adopt) -> PublishedFile:
        """Put an artifact in the item's place and say so in the ledger. A file that the worker wrote is deleted there.

        Raises StorageFull, OutputFolderGone (both: nothing was lost, try again with the same artifact) or OSError.
        """
        final = Path(os.fsdecode(item.path))
        self._ensure_folder(final.parent)
        while True:
            try:
                write_new(self.temp_path(final.parent, item.id), final, artifact.content, self._fault)
            except FileExistsError:
                adopted = self._adopt(item, final, adopt, seconds)
                if adopted is not None:
                    return adopted
                final = self._choose_other_path(item, final)
                continue
            if isinstance(artifact.content, bytes):
                content_hash = blake3(artifact.content).digest()
            else:
                content_hash = bytes.fromhex(hash_file_hex(final))
            made = PublishedFile(final, content_hash, adopted=False, scores=artifact.scores)
            self._record(item, made, seconds, artifact.report)
            if isinstance(artifact.content, Path):
                artifact.content.unlink(missing_ok=True)
            return made

    def adopt(self, item: JobItemRow, adopt: Adopt) -> PublishedFile | None:
        """The item's file if it is there already, published before the process ended; the ledger then says so.

        The temporary file that such an end left is deleted.
        """
        final = Path(os.fsdecode(item.path))
        self.temp_path(final.parent, item.id).unlink(missing_ok=True)
        return self._adopt(item, final, adopt, 0.0)

    def temp_path(self, folder: Path, item_id: int) -> Path:
        """The name under which an item's file is written first; hidden, so that no watcher reads it."""
        return folder / f".indexd-{self._ledger_id}-{item_id}.part"

    def _adopt(self, item: JobItemRow, final: Path, adopt: Adopt, seconds: float) -> PublishedFile | None:
        existing = adopt(final) if os.path.lexists(final) else None
        if existing is None:
            return None
        fsync_folder(final.parent)
        adopted = PublishedFile(final, existing.content_hash, adopted=True, scores=existing.scores)
        return self._record(item, adopted, seconds)

    def _record(
        self, item: JobItemRow, published: PublishedFile, seconds: float, report: Mapping[str, Any] | None = None
    ) -> PublishedFile:
        path = os.fsencode(published.path)
        self._ledger.mark_published(
            item.id, path, published.content_hash, seconds, report=report, scores=published.scores
        )
        self._fault("row written")
        return published

    def _choose_other_path(self, item: JobItemRow, final: Path) -> Path:
        names = {name.casefold() for name in os.listdir(final.parent)}
        other = final.with_name(free_file_name(final.stem, final.suffix, names.__contains__))
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
