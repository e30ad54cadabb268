"""Putting another index in the place of the present one, which is set aside under a dated name and never deleted.

The new one lies finished and synced beside it, as `<name>.incoming`, before the old one moves; so whatever is killed in
between, the next start finds either the old index or the finished new one, and `finish` ends what was begun.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from indexd.errors import StoreError
from indexd.store.sqlite.database import WAL_SUFFIXES, suspect_marker
from indexd.store.sqlite.recovery.backup import fsync_folder
from indexd.store.sqlite.recovery.backup_retention import timestamp


def incoming_path(index: Path) -> Path:
    """Where an index that is to take the place of `index` is laid ready."""
    return index.with_name(f"{index.name}.incoming")


def swap_index(index: Path, reason: str, now: float) -> Path | None:
    """Set `index` aside as `<name>.<why>-<moment>` and give its place to the incoming one. The caller has the lock.

    Returns where the old one is now; None when there was none. Raises StoreError where the folder cannot be changed.
    """
    aside = _free_dated_name(index, reason, now)
    try:
        moved = index.exists()
        # The file first: once it is gone from its place, `finish` knows that the exchange had begun.
        if moved:
            index.rename(aside)
        _move_wal_files(index, aside)
        incoming_path(index).rename(index)
        fsync_folder(index.parent)
        suspect_marker(index).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot set the index {index} aside: {error.strerror or error}") from None
    return aside if moved else None


def finish_swap(index: Path, now: float) -> bool:
    """End an exchange that a killed process began; True when there was one."""
    ready = incoming_path(index)
    if index.exists() or not ready.exists():
        return False
    try:
        # The log of the index that was set aside belongs beside it.
        asides = sorted(index.parent.glob(f"{index.name}.*-*Z"), key=lambda path: path.name[-16:])
        _move_wal_files(index, asides[-1] if asides else _free_dated_name(index, "aside", now))
        ready.rename(index)
        fsync_folder(index.parent)
        suspect_marker(index).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot put {ready} in the place of {index}: {error.strerror or error}") from None
    return True


def delete_index_files(path: Path) -> None:
    """Take an unfinished index of ours away, with what lies beside it."""
    for part in (path, *(path.with_name(path.name + suffix) for suffix in (*WAL_SUFFIXES, "-journal"))):
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _move_wal_files(index: Path, aside: Path) -> None:
    for suffix in WAL_SUFFIXES:
        beside = index.with_name(index.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))


def _free_dated_name(index: Path, why: str, now: float) -> Path:
    for second in range(1000):
        name = index.with_name(f"{index.name}.{why}-{timestamp(now + second)}")
        if not name.exists():
            return name
    raise StoreError(f"there are too many set-aside files beside {index}")
