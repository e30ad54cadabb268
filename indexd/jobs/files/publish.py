"""Publishes artifacts: a file is put in its place whole, under a name that is free, and the ledger says so.

Order of the durable steps: temporary file, ledger ("a file with this hash is about to appear there"), link, ledger
("done"). So after a crash the ledger tells an item's own file from any other, whatever the file contains.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from indexd.errors import NotRegularFile, raise_if_transient
from indexd.images.file_hash import hash_file_hex
from indexd.jobs.files.atomic import FaultHook, fsync_folder, is_same_file, no_fault, place_temp, write_temp
from indexd.jobs.files.output_names import free_file_name
from indexd.jobs.kinds import Artifact
from indexd.jobs.queue.retry import OutputFolderGone
from indexd.store.protocols import JobOutputRepository
from indexd.store.records import ItemOutput, JobItemRow


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """An artifact in its place. `adopted` = it was there already, published before the process ended."""

    path: Path
    content_hash: bytes
    adopted: bool


class Publisher:
    """Puts artifacts in their places."""

    def __init__(self, ledger: JobOutputRepository, ledger_id: str, output: Path, fault: FaultHook = no_fault) -> None:
        """`ledger_id` tells apart the unfinished files of several indexes that publish into one folder."""
        self._ledger = ledger
        self._ledger_id = ledger_id
        self._output = output
        self._fault = fault

    def publish(self, item_id: int, artifact: Artifact, seconds: float) -> PublishedFile:
        """Put an artifact in the item's place and say so in the ledger. A file that the worker wrote is deleted there.

        Raises StorageFull, OutputFolderGone (both: nothing was lost, try again with the same artifact), LookupError where
        the ledger has no such item, or OSError.
        """
        item = self._ledger.item(item_id)
        if item is None:
            raise LookupError(f"the ledger has no item {item_id}")
        published = self.adopt(item) or self._publish_new(item, artifact, seconds)
        if isinstance(artifact.content, Path):
            artifact.content.unlink(missing_ok=True)
        return published

    def adopt(self, item: JobItemRow) -> PublishedFile | None:
        """The item's file if it is there already, published before the process ended; the ledger then says so.

        The temporary file that such an end left is deleted. Raises OSError where the machine keeps a file from being read.
        """
        final = Path(os.fsdecode(item.path))
        temp = self.temp_path(final.parent, item.id)
        if item.content_hash is None:
            temp.unlink(missing_ok=True)
            return None
        # The temporary file was there before the ledger named its hash, and goes when the file has its final name.
        is_linked = not os.path.lexists(temp) or is_same_file(temp, final)
        if not is_linked or not has_content(final, item.content_hash):
            self._ledger.stage_output(item.id, None)
            temp.unlink(missing_ok=True)
            return None
        temp.unlink(missing_ok=True)
        fsync_folder(final.parent)
        output = ItemOutput(item.path, item.content_hash, item.seconds or 0.0, item.report, item.scores)
        return self._record(item, output, adopted=True)

    def temp_path(self, folder: Path, item_id: int) -> Path:
        """The name under which an item's file is written first; hidden, so that no watcher reads it."""
        return folder / f".indexd-{self._ledger_id}-{item_id}.part"

    def _publish_new(self, item: JobItemRow, artifact: Artifact, seconds: float) -> PublishedFile:
        final = Path(os.fsdecode(item.path))
        self._ensure_folder(final.parent)
        temp = self.temp_path(final.parent, item.id)
        write_temp(temp, artifact.content, self._fault)
        content = artifact.content
        content_hash = blake3(content).digest() if isinstance(content, bytes) else bytes.fromhex(hash_file_hex(temp))
        output = ItemOutput(item.path, content_hash, seconds, artifact.report, artifact.scores)
        while True:
            self._ledger.stage_output(item.id, output)
            self._fault("output staged")
            try:
                place_temp(temp, Path(os.fsdecode(output.path)), self._fault)
            except FileExistsError:
                output = replace(output, path=_other_path(output.path))
                continue
            return self._record(item, output, adopted=False)

    def _record(self, item: JobItemRow, output: ItemOutput, *, adopted: bool) -> PublishedFile:
        self._ledger.mark_published(item.id, output)
        self._fault("row written")
        return PublishedFile(Path(os.fsdecode(output.path)), output.content_hash, adopted)

    def _ensure_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        below_output = folder == self._output or self._output in folder.parents
        base = self._output if below_output else folder
        if not base.is_dir() and not base.parent.is_dir():
            raise OutputFolderGone(f"the folder {folder} is gone, and so is {base.parent}; is its disk mounted?")
        folder.mkdir(parents=True, exist_ok=True)
        fsync_folder(folder.parent)


def has_content(path: Path, content_hash: bytes | None) -> bool:
    """Whether a regular file at `path` has this content (blake3). Raises OSError where the machine keeps it from being read."""
    try:
        return not path.is_symlink() and hash_file_hex(path) == (content_hash or b"").hex()
    except OSError as error:
        raise_if_transient(error)
        return False
    except NotRegularFile:
        return False


def _other_path(path: bytes) -> bytes:
    final = Path(os.fsdecode(path))
    names = {name.casefold() for name in os.listdir(final.parent)}
    return os.fsencode(final.with_name(free_file_name(final.stem, final.suffix, names.__contains__)))
