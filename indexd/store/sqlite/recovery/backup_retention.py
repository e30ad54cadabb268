"""The folder of backups: their names, their retention, and when the next one is due."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_BACKUP_NAME = re.compile(r"index-(\d{8}T\d{6})Z\.db")
_STAMP = "%Y%m%dT%H%M%S"
UNFINISHED_SUFFIX = ".part"


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A backup in the folder; `at` is its start time."""

    path: Path
    at: datetime.datetime


def timestamp(now: float) -> str:
    """The time as part of a file name: `20261121T033000Z`. Such names sort by time."""
    return datetime.datetime.fromtimestamp(now, datetime.UTC).strftime(_STAMP) + "Z"


def backup_path(folder: Path, now: float) -> Path:
    return folder / f"index-{timestamp(now)}.db"


def list_backups(folder: Path) -> list[BackupFile]:
    """The backups in a folder, newest first; files with other names are ignored."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _BACKUP_NAME.fullmatch(path.name)
        if match and path.is_file():
            try:
                at = datetime.datetime.strptime(match[1], _STAMP).replace(tzinfo=datetime.UTC)
            except ValueError:
                continue
            found.append(BackupFile(path, at))
    return sorted(found, key=lambda one: one.at, reverse=True)


def expired_backups(kept: Iterable[BackupFile], daily: int, weekly: int) -> list[BackupFile]:
    """The backups to delete.

    The newest one of each of the last `daily` days with a backup is kept, and of each of the last `weekly` weeks. The
    newest of all is always kept.
    """
    newest_first = sorted(kept, key=lambda one: one.at, reverse=True)
    staying = set(newest_first[:1])
    for count, period in ((daily, _day), (weekly, _week)):
        newest_of: dict[tuple[int, ...], BackupFile] = {}
        for one in newest_first:
            newest_of.setdefault(period(one.at), one)
        staying.update(list(newest_of.values())[:count])
    return [one for one in newest_first if one not in staying]


def delete_expired_backups(folder: Path, daily: int, weekly: int) -> list[Path]:
    """Delete expired backups and unfinished ones of killed processes; returns their paths.

    Only files with names of backups are deleted.
    """
    deleted = []
    leftovers = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name.endswith(UNFINISHED_SUFFIX) and _BACKUP_NAME.fullmatch(path.name.removesuffix(UNFINISHED_SUFFIX))
    ]
    for path in (*leftovers, *(one.path for one in expired_backups(list_backups(folder), daily, weekly))):
        path.unlink(missing_ok=True)
        deleted.append(path)
    return deleted


def is_backup_overdue(folder: Path, now: float, after_seconds: float) -> bool:
    """Whether the newest backup is older than `after_seconds`, or there is none."""
    newest = next(iter(list_backups(folder)), None)
    return newest is None or now - newest.at.timestamp() > after_seconds


def _day(at: datetime.datetime) -> tuple[int, ...]:
    local = at.astimezone()
    return (local.year, local.month, local.day)


def _week(at: datetime.datetime) -> tuple[int, ...]:
    return at.astimezone().isocalendar()[:2]
