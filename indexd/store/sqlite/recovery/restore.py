"""Restores a backup: verifies it, copies it completely, then swaps the copy with the current index."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from indexd.errors import StorageFull, StoreError
from indexd.store.sqlite.migrate import open_database
from indexd.store.sqlite.recovery.backup import ProgressCallback, fsync_folder, verify_backup
from indexd.store.sqlite.recovery.index_swap import delete_index_files, incoming_path, swap_index


def restore_backup(
    index: Path, backup: Path, now: float, *, on_step: ProgressCallback = lambda _: False
) -> Path | None:
    """Replace `index` by a copy of `backup`; returns the new path of the current index (None: there was none).

    The caller holds the instance lock. The backup is only read. Raises StoreError when it is damaged, newer than this
    program or not an index, and StorageFull without space for the copy; then the current index is unchanged.
    """
    index = index.absolute()
    if index.exists() and backup.exists() and index.samefile(backup):
        raise StoreError(f"{backup} is the current index itself; name a backup")
    verify_backup(backup, on_step=on_step)
    ready = incoming_path(index)
    unfinished = ready.with_name(f"{ready.name}.part")
    delete_index_files(unfinished)
    delete_index_files(ready)
    on_step("copying")
    try:
        index.parent.mkdir(parents=True, exist_ok=True)
        _copy(backup, unfinished)
        # Opening it migrates an older schema and refuses a newer one, before anything is moved.
        open_database(unfinished).close()
        unfinished.rename(ready)
        fsync_folder(ready.parent)
    except BaseException:
        delete_index_files(unfinished)
        raise
    return swap_index(index, "before-restore", now)


def _copy(backup: Path, target: Path) -> None:
    try:
        with backup.open("rb") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"no space left for a copy of {backup} at {target}; free some space") from None
        raise StoreError(f"cannot copy {backup} to {target}: {error.strerror or error}") from None
