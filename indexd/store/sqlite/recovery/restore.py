"""Bringing a backup back: verified first, laid ready whole, then exchanged with the present index."""

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
    """Put a copy of `backup` in the place of `index`; returns where the present one lies now (None: there was none).

    The caller holds the instance lock. The backup is only read. Raises StoreError when it is damaged, newer than this
    program or no index, StorageFull when there is no room for the copy; then the present index is as it was.
    """
    index = index.absolute()
    if index.exists() and backup.exists() and index.samefile(backup):
        raise StoreError(f"{backup} is the present index itself; name a backup")
    verify_backup(backup, on_step=on_step)
    ready = incoming_path(index)
    unfinished = ready.with_name(f"{ready.name}.part")
    delete_index_files(unfinished)
    delete_index_files(ready)
    on_step("copying")
    try:
        index.parent.mkdir(parents=True, exist_ok=True)
        _copy(backup, unfinished)
        # Opened once as what it will be: an older form is brought up to date, a newer one refused, before anything moves.
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
            raise StorageFull(f"there is no room for a copy of {backup} beside {target}; free some space") from None
        raise StoreError(f"cannot copy {backup} to {target}: {error.strerror or error}") from None
