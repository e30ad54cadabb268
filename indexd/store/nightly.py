"""The backup that nobody has to think of: written, verified, and older ones let go."""

from __future__ import annotations

from pathlib import Path

from indexd.store.backup import ProgressCallback, write_backup
from indexd.store.rotation import backup_path, delete_expired_backups, list_backups


def nightly_backup(index: Path, folder: Path, daily: int, weekly: int, now: float, *, on_step: ProgressCallback) -> str:
    """Write a backup into `folder` and rotate; says what was done. Raises as `write_backup` does, or OSError.

    Older backups go only after the new one was verified.
    """
    made = write_backup(index, backup_path(folder, now), on_step=on_step)
    gone = delete_expired_backups(folder, daily, weekly)
    kept = len(list_backups(folder))
    older = f", {len(gone)} older ones removed" if gone else ""
    return f"wrote {made.path} ({made.byte_count / 1e6:.1f} MB); {kept} kept{older}"
