"""Which backups are kept."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from indexd.store.sqlite.recovery.backup_retention import (
    BackupFile,
    backup_path,
    delete_expired_backups,
    expired_backups,
    is_backup_overdue,
    list_backups,
)

DAY = 86400.0


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    if hasattr(time, "tzset"):
        time.tzset()


def kept(*moments: str) -> list[BackupFile]:
    return [BackupFile(Path(text), datetime.datetime.fromisoformat(f"{text}+00:00")) for text in moments]


def test_after_a_year_the_last_days_and_the_ends_of_the_last_weeks_are_kept() -> None:
    first = datetime.datetime(2026, 1, 1, 3, 30, tzinfo=datetime.UTC)
    there: list[BackupFile] = []
    for day in range(365):
        at = first + datetime.timedelta(days=day)
        there.append(BackupFile(Path(f"{at:%Y%m%d}"), at))
        for gone in expired_backups(there, daily=7, weekly=4):
            there.remove(gone)
    # 2026-12-31 is a Thursday: the Sundays before it end the weeks.
    assert [one.path.name for one in there] == [
        *("20261213", "20261220"),
        *("20261225", "20261226", "20261227", "20261228", "20261229", "20261230", "20261231"),
    ]


def test_the_newest_backup_of_a_day_is_kept_and_days_without_backup_do_not_count() -> None:
    there = kept("2026-01-01T10:00", "2026-01-01T20:00", "2026-03-05T08:00", "2026-03-05T09:00", "2026-09-09T09:00")
    gone = expired_backups(there, daily=3, weekly=0)
    assert [one.path.name for one in gone] == ["2026-03-05T08:00", "2026-01-01T10:00"]


def test_the_newest_backup_is_always_kept() -> None:
    assert expired_backups(kept("2026-01-01T10:00"), daily=0, weekly=0) == []


def test_only_files_with_names_of_backups_are_deleted(tmp_path: Path) -> None:
    mine = [tmp_path / name for name in ("index.db", "index-2026.db", "notes.part", "index-20260101T000000Z.db.old")]
    for file in mine:
        file.write_text("mine")
    (tmp_path / "index-20260101T000000Z.db").mkdir()
    (tmp_path / "index-20269999T000000Z.db").write_text("no date")
    ours = [backup_path(tmp_path, DAY * day) for day in range(5)]
    for file in ours:
        file.write_text("ours")
    unfinished = tmp_path / "index-20260102T000000Z.db.part"
    unfinished.write_text("killed")
    assert [one.path for one in list_backups(tmp_path)] == ours[::-1]
    assert sorted(delete_expired_backups(tmp_path, daily=2, weekly=0)) == sorted([unfinished, *ours[:3]])
    assert all(file.exists() for file in mine)
    assert [one.path for one in list_backups(tmp_path)] == ours[:2:-1]


def test_a_backup_is_overdue_when_none_or_only_an_old_one_exists(tmp_path: Path) -> None:
    assert is_backup_overdue(tmp_path / "nowhere", 0.0, DAY)
    backup_path(tmp_path, 10 * DAY).touch()
    assert not is_backup_overdue(tmp_path, 10.5 * DAY, DAY)
    assert is_backup_overdue(tmp_path, 11.5 * DAY, DAY)
