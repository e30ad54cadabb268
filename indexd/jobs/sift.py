"""The pictures of an ended job that are not kept -> `rejected/` beside them, wherever the process dies in between.

Every picture was published in its place first, so that nothing waits for the best of many. When the last one is there
the verdict and the new paths go to the ledger in one transaction; then each file is linked to its new name, loses its old
one, and its row says so. After a death the same is done again: a file that has its new name already loses only the old
one. A file that somebody changed or took away meanwhile is left alone.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from indexd.errors import NotRegular, StorageFull, StoreUnavailable, raise_machines_fault
from indexd.images.decode import content_hash
from indexd.jobs.durable import FULL, Fault, link_new, no_fault, sync_folder
from indexd.jobs.judging import not_kept
from indexd.jobs.names import SUFFIX, free_name
from indexd.store.records import ItemRow
from indexd_schemas.scoring import Keep

log = logging.getLogger(__name__)

FOLDER = "rejected"
# Want of these passes, whatever file it is.
_PASSING = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))


class VerdictLedger(Protocol):
    """What sifting asks of the ledger; each write is one synced transaction."""

    def items(self, job_id: int) -> Sequence[ItemRow]:
        """The items of a job."""
        ...

    def reject(self, paths: dict[int, bytes]) -> None:
        """These items are about to be moved to these paths."""
        ...

    def set_aside(self, item_id: int) -> None:
        """The picture lies there."""
        ...

    def left_in_place(self, item_id: int, reason: str) -> None:
        """It cannot be moved."""
        ...


class Sieve:
    """Sets pictures aside. Running it twice for a job is harmless."""

    def __init__(self, ledger: VerdictLedger, fault: Fault = no_fault) -> None:
        self._ledger = ledger
        self._fault = fault

    def sift(self, job_id: int) -> int:
        """Move what the job does not keep; how many that are. Raises StoreUnavailable (then it can be done again)."""
        items = self._ledger.items(job_id)
        keep = items[0].settings.get("keep") if items else None
        if keep is None:
            return 0
        by = items[0].settings["recipe"]["score"][0]
        fresh = [item for item in not_kept(items, Keep.model_validate(keep), by) if item.rejected is None]
        if fresh:
            self._ledger.reject(_new_paths(fresh))
            self._fault("verdict written")
            items = self._ledger.items(job_id)
        for item in items:
            if item.rejected is not None and item.rejected != item.path:
                self._move(item)
        return sum(item.rejected is not None for item in items)

    def _move(self, item: ItemRow) -> None:
        try:
            self._try_move(item, Path(os.fsdecode(item.path)), Path(os.fsdecode(item.rejected or b"")))
        except OSError as error:
            if error.errno in FULL:
                raise StorageFull(f"the disk of {os.fsdecode(item.path)} is full; free some space") from None
            if error.errno in _PASSING:
                raise StoreUnavailable(f"{os.fsdecode(item.path)} cannot be set aside now: {error.strerror}") from None
            self._leave(item, f"it is not kept, and could not be moved to {FOLDER}/: {error.strerror or error}")

    def _try_move(self, item: ItemRow, old: Path, new: Path) -> None:
        new.parent.mkdir(exist_ok=True)
        while not _is(new, item):
            if not _is(old, item):
                self._leave(item, "it is not kept, and is left alone because it was changed or taken away since")
                return
            try:
                link_new(old, new, self._fault)
            except FileExistsError:
                [path] = _new_paths([item]).values()
                self._ledger.reject({item.id: path})
                new = Path(os.fsdecode(path))
        # The process may have ended between the two halves of a move.
        if old != new and _same_file(old, new):
            old.unlink()
        sync_folder(new.parent)
        sync_folder(old.parent)
        self._fault("set aside")
        self._ledger.set_aside(item.id)

    def _leave(self, item: ItemRow, reason: str) -> None:
        log.warning("job %d, picture %d: %s", item.job_id, item.index + 1, reason)
        self._ledger.left_in_place(item.id, reason)


def _new_paths(items: Sequence[ItemRow]) -> dict[int, bytes]:
    """A free name in `rejected/` for each picture."""
    taken: dict[Path, set[str]] = {}
    paths = {}
    for item in items:
        old = Path(os.fsdecode(item.path))
        folder = old.parent / FOLDER
        names = taken.setdefault(folder, _names_in(folder))
        name = free_name(old.name.removesuffix(SUFFIX), names.__contains__)
        names.add(name.casefold())
        paths[item.id] = os.fsencode(folder / name)
    return paths


def _names_in(folder: Path) -> set[str]:
    try:
        return {name.casefold() for name in os.listdir(folder)}
    except OSError:
        return set()


def _is(path: Path, item: ItemRow) -> bool:
    """Whether the file holds exactly this picture."""
    try:
        return not path.is_symlink() and content_hash(path) == (item.content_hash or b"").hex()
    except OSError as error:
        raise_machines_fault(error)
        return False
    except NotRegular:
        return False


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
