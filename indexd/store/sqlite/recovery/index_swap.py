"""Replaces the index by another one. The old index gets a dated name and is never deleted.

The new index is complete and synced as `<name>.incoming` before the old one is renamed. So after a kill at any moment the
next start finds the old index or the complete new one, and `finish_swap` completes the swap.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from indexd.errors import StoreError
from indexd.store.sqlite.database import WAL_SUFFIXES, suspect_marker
from indexd.store.sqlite.recovery.backup import fsync_folder
from indexd.store.sqlite.recovery.backup_retention import timestamp


def incoming_path(index: Path) -> Path:
    """The path of the complete index that is going to replace `index`."""
    return index.with_name(f"{index.name}.incoming")


def swap_index(index: Path, reason: str, now: float) -> Path | None:
    """Rename `index` to `<name>.<reason>-<time>`, and the incoming one to `index`. The caller holds the instance lock.

    Returns the new path of the old index; None when there was none. Raises StoreError when a rename fails.
    """
    aside = _free_dated_name(index, reason, now)
    try:
        moved = index.exists()
        # The index first: when it is absent, `finish_swap` knows that the swap had started.
        if moved:
            index.rename(aside)
        _move_wal_files(index, aside)
        incoming_path(index).rename(index)
        fsync_folder(index.parent)
        suspect_marker(index).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot replace the index {index}: {error.strerror or error}") from None
    return aside if moved else None


def finish_swap(index: Path, now: float) -> bool:
    """Complete the swap of a killed process; returns whether there was one."""
    ready = incoming_path(index)
    if index.exists() or not ready.exists():
        return False
    try:
        # The log of the old index must keep its name prefix.
        asides = sorted(index.parent.glob(f"{index.name}.*-*Z"), key=lambda path: path.name[-16:])
        _move_wal_files(index, asides[-1] if asides else _free_dated_name(index, "aside", now))
        ready.rename(index)
        fsync_folder(index.parent)
        suspect_marker(index).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot rename {ready} to {index}: {error.strerror or error}") from None
    return True


def delete_index_files(path: Path) -> None:
    """Delete an unfinished index and its log files."""
    for part in (path, *(path.with_name(path.name + suffix) for suffix in (*WAL_SUFFIXES, "-journal"))):
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _move_wal_files(index: Path, aside: Path) -> None:
    for suffix in WAL_SUFFIXES:
        wal_file = index.with_name(index.name + suffix)
        if wal_file.exists():
            wal_file.rename(aside.with_name(aside.name + suffix))


def _free_dated_name(index: Path, reason: str, now: float) -> Path:
    for second in range(1000):
        name = index.with_name(f"{index.name}.{reason}-{timestamp(now + second)}")
        if not name.exists():
            return name
    raise StoreError(f"there are too many renamed copies of {index}; delete some")
