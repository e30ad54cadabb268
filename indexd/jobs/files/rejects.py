"""Moves the images that an ended job does not keep to `rejected/` next to them. A kill at any point does no harm.

Every image was published under its own name first. When the last item ends, one transaction writes the verdict and the
new paths to the ledger. Then each file is linked to its new name, its old name is removed, and its row is updated. After a
crash the same steps run again: a file that has its new name already loses only the old one. A file that was changed or
deleted meanwhile is left alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from indexd.errors import StorageFull, StoreUnavailable, is_resource_shortage
from indexd.jobs.admission.scoring import items_to_reject
from indexd.jobs.files.atomic import DISK_FULL_ERRNOS, FaultHook, fsync_folder, is_same_file, move_no_replace, no_fault
from indexd.jobs.files.output_names import free_file_name
from indexd.jobs.files.publish import has_content
from indexd.store.protocols import JobOutputRepository
from indexd.store.records import JobItemRow
from indexd_schemas.jobs.scoring import Keep

log = logging.getLogger(__name__)

REJECTED_FOLDER = "rejected"


class RejectMover:
    """Moves rejected images. Running it twice for a job is harmless."""

    def __init__(self, ledger: JobOutputRepository, fault: FaultHook = no_fault) -> None:
        self._ledger = ledger
        self._fault = fault

    def move_rejects(self, job_id: int) -> int:
        """Move the images that the job does not keep, and return their number. Raises StoreUnavailable; call it again then."""
        items = self._ledger.items(job_id)
        keep = items[0].settings.get("keep") if items else None
        if keep is None:
            return 0
        by = items[0].settings["recipe"]["score"][0]
        fresh = [item for item in items_to_reject(items, Keep.model_validate(keep), by) if item.rejected_path is None]
        if fresh:
            self._ledger.reject(_reject_paths(fresh))
            self._fault("verdict written")
            items = self._ledger.items(job_id)
        for item in items:
            if item.rejected_path is not None and item.rejected_path != item.path:
                self._move(item)
        return sum(item.rejected_path is not None for item in items)

    def _move(self, item: JobItemRow) -> None:
        try:
            self._try_move(item, Path(os.fsdecode(item.path)), Path(os.fsdecode(item.rejected_path or b"")))
        except OSError as error:
            if error.errno in DISK_FULL_ERRNOS:
                raise StorageFull(f"the disk of {os.fsdecode(item.path)} is full; free some space") from None
            if is_resource_shortage(error):
                raise StoreUnavailable(
                    f"{os.fsdecode(item.path)} cannot be moved to rejected/: {error.strerror}"
                ) from None
            self._leave_in_place(
                item, f"it is not kept, and could not be moved to {REJECTED_FOLDER}/: {error.strerror or error}"
            )

    def _try_move(self, item: JobItemRow, old: Path, new: Path) -> None:
        new.parent.mkdir(exist_ok=True)
        while not has_content(new, item.content_hash):
            if not has_content(old, item.content_hash):
                self._leave_in_place(item, "not moved to rejected/: the file was changed or deleted after rendering")
                return
            try:
                move_no_replace(old, new, self._fault)
            except FileExistsError:
                [path] = _reject_paths([item]).values()
                self._ledger.reject({item.id: path})
                new = Path(os.fsdecode(path))
        # The process may have ended between the two halves of a move.
        if old != new and is_same_file(old, new):
            old.unlink()
        fsync_folder(new.parent)
        fsync_folder(old.parent)
        self._fault("set aside")
        self._ledger.mark_reject_moved(item.id)

    def _leave_in_place(self, item: JobItemRow, reason: str) -> None:
        log.warning("job %d, item %d: %s", item.job_id, item.index + 1, reason)
        self._ledger.mark_reject_kept_in_place(item.id, reason)


def _reject_paths(items: Sequence[JobItemRow]) -> dict[int, bytes]:
    """A free name in `rejected/` for each image."""
    taken: dict[Path, set[str]] = {}
    paths = {}
    for item in items:
        old = Path(os.fsdecode(item.path))
        folder = old.parent / REJECTED_FOLDER
        names = taken.setdefault(folder, _existing_names(folder))
        name = free_file_name(old.stem, old.suffix, names.__contains__)
        names.add(name.casefold())
        paths[item.id] = os.fsencode(folder / name)
    return paths


def _existing_names(folder: Path) -> set[str]:
    try:
        return {name.casefold() for name in os.listdir(folder)}
    except OSError:
        return set()
