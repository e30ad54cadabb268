"""The backup that nobody has to think of: written, verified, and older ones let go."""

from __future__ import annotations

from pathlib import Path

from indexd.store.backup import Watcher, write_backup
from indexd.store.rotation import backups, new_name, rotate


def nightly_backup(index: Path, folder: Path, daily: int, weekly: int, now: float, *, on_step: Watcher) -> str:
    """Write a backup into `folder` and rotate; says what was done. Raises as `write_backup` does, or OSError.

    Older backups go only after the new one was verified.
    """
    made = write_backup(index, new_name(folder, now), on_step=on_step)
    gone = rotate(folder, daily, weekly)
    kept = len(backups(folder))
    older = f", {len(gone)} older ones removed" if gone else ""
    return f"wrote {made.path} ({made.byte_count / 1e6:.1f} MB); {kept} kept{older}"
