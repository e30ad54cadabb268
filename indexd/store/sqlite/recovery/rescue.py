"""Saves an open index whose file, log or shared memory was deleted or replaced while the program runs.

The kernel keeps a deleted file until its last handle is closed, so the open connection still reads everything.
"""

from __future__ import annotations

import os
from pathlib import Path

from indexd.fs.private_files import make_private_folder
from indexd.store.sqlite.database import Database, translate_errors
from indexd.store.sqlite.recovery.backup import fsync_folder
from indexd.store.sqlite.recovery.index_swap import incoming_path, swap_index


def rescue_index(database: Database) -> Path:
    """Save everything that was committed; returns the file that contains it.

    If the index is still in place, its log is checkpointed; else the whole content is written to the incoming file of
    a swap (see `index_swap`). Raises StoreError (StorageFull on a full disk) or OSError; then nothing is lost.
    """
    index = database.path
    with database.outside_transaction() as connection:
        if database.is_index_in_place():
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return index
        incoming = incoming_path(index)
        unfinished = incoming.with_name(f"{incoming.name}.part")
        make_private_folder(index.parent)
        unfinished.unlink(missing_ok=True)
        with translate_errors(unfinished):
            connection.execute("VACUUM INTO ?", (str(unfinished),)).fetchall()
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, incoming)
        fsync_folder(index.parent)
        return incoming


def place_rescued_index(index: Path, now: float) -> Path | None:
    """Move the rescued index into place once the old one is closed; returns the new path of a file that replaced it."""
    return swap_index(index, "replaced", now) if incoming_path(index).exists() else None
