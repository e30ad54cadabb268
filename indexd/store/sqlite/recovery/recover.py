"""Recovery of the index before it is opened at a start: completes an interrupted swap, rebuilds a damaged index."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from indexd.errors import StoreError
from indexd.store.records import StageInput
from indexd.store.sqlite.recovery.backup import ProgressCallback, fsync_folder, verify_backup
from indexd.store.sqlite.recovery.backup_retention import BackupFile, list_backups
from indexd.store.sqlite.recovery.corruption import find_damage
from indexd.store.sqlite.recovery.index_swap import finish_swap, incoming_path, swap_index
from indexd.store.sqlite.recovery.rebuild import RebuildReport, describe_row_counts, rebuild

REASON_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """A damaged index was renamed to `aside`; missing rows came from `backup`."""

    reason: str
    aside: Path | None
    backup: BackupFile | None
    rebuilt: RebuildReport

    def summary(self) -> str:
        """A sentence for the log and for `status`."""
        parts = [
            f"the index was damaged ({self.reason}); it was set aside as {self.aside} and rebuilt",
            f"entries kept: {describe_row_counts(self.rebuilt.rows)}",
        ]
        filled = sum(self.rebuilt.filled.values())
        if self.backup is not None and self.rebuilt.gaps:
            parts.append(f"{filled} rows came from the backup of {self.backup.at:%Y-%m-%d %H:%M} UTC")
        elif self.rebuilt.gaps:
            parts.append("there was no valid backup to restore unreadable rows from")
        if self.rebuilt.dropped:
            lost = ", ".join(f"{table} {count}" for table, count in self.rebuilt.dropped.items())
            parts.append(f"rows without their image or job stay only in the set-aside file: {lost}")
        if self.rebuilt.unread:
            parts.append(f"{self.rebuilt.unread} images are read again")
        parts.append("vectors are computed again")
        return "; ".join(parts)


def recover_index(
    index: Path,
    backup_folder: Path,
    now: float,
    stages: Mapping[str, StageInput],
    *,
    on_step: ProgressCallback = lambda _: False,
) -> RecoveryReport | None:
    """Replace a damaged index at `index` by a rebuilt one; returns None for an intact index.

    The caller holds the instance lock and opens the index afterwards. Raises StoreError (StorageFull) when the new index
    cannot be written; then the damaged one stays in place.
    """
    index = index.absolute()
    finish_swap(index, now)
    backups = list_backups(backup_folder)
    reason = find_damage(index, has_backups=bool(backups), on_step=on_step)
    if reason is None:
        return None
    reason = " ".join(reason.split())[:REASON_CHARACTERS]
    on_step(f"the index {index} is damaged ({reason}); it is rebuilt, which takes a while")
    backup = _newest_valid(backups)
    ready = incoming_path(index)
    unfinished = ready.with_name(f"{ready.name}.part")
    rebuilt = rebuild(index, unfinished, backup.path if backup else None, stages, on_step)
    os.replace(unfinished, ready)
    fsync_folder(index.parent)
    return RecoveryReport(reason, swap_index(index, "damaged", now), backup, rebuilt)


def _newest_valid(backups: list[BackupFile]) -> BackupFile | None:
    for backup in backups:
        try:
            verify_backup(backup.path)
        except StoreError:
            continue
        return backup
    return None


def describe_missing_index(index: Path, backup_folder: Path) -> str | None:
    """The message for a missing index of which backups exist; None otherwise."""
    if index.exists() or incoming_path(index).exists():
        return None
    newest = next(iter(list_backups(backup_folder)), None)
    if newest is None:
        return None
    return (
        f"there is no index at {index}, so an empty one was made, but there is a backup of {newest.at:%Y-%m-%d %H:%M}"
        f" UTC; to bring back what you entered, stop indexd and run: indexd restore {shlex.quote(str(newest.path))}"
    )
