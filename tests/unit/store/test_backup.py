"""Backups: complete, verified, written beside writers; restores; and a full or failing disk."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path

import apsw
import pytest

from indexd.errors import IndexDamaged, StorageFull, StoreError
from indexd.store.sqlite.database import suspect_marker
from indexd.store.sqlite.faulty_vfs import FaultyDisk
from indexd.store.sqlite.recovery import backup as backup_module
from indexd.store.sqlite.recovery.backup import BackupStopped, nightly_backup, verify_backup, write_backup
from indexd.store.sqlite.recovery.index_swap import finish_swap, incoming_path, swap_index
from indexd.store.sqlite.recovery.restore import restore_backup
from indexd.store.sqlite.store import SqliteStore
from indexd.store.sqlite.table_kinds import LEDGER_TABLES, USER_DATA_TABLES, non_derived_tables
from tests.unit.store.sample_rows import Library, new_job, unit_vectors


def fill(store: SqliteStore, count: int = 40) -> list[int]:
    """Pictures with everything that a person and the daemon hang on them."""
    library = Library(store, store.roots.ensure(b"/pictures", "images"))
    ids = library.add_many(count, stages=("clip_h", "bge_prompt"), prompt="lighthouse")
    revision = store.vectors.activate("clip_h", "model", 32, "image")
    store.vectors.put("clip_h", revision, ids, unit_vectors(count, 32))
    store.annotations.rate(ids[:5], 4)
    store.annotations.tag(ids[:3], ["keep", "sea"])
    store.annotations.note([ids[0]], "the good one")
    store.jobs.admit(new_job(items=2))
    store.events.add("test", "something")
    return ids


def test_a_backup_opens_as_an_index_with_an_index_task_for_each_vector(store: SqliteStore, tmp_path: Path) -> None:
    ids = fill(store)
    job = store.jobs.list()[0]
    name = "a #%.db" if sys.platform == "win32" else "a ?#%.db"
    made = write_backup(store.path, tmp_path / "new folder" / name)
    entered = {table: count for table, count in made.rows.items() if count}
    assert entered == {"rating": 5, "tag": 6, "note": 1, "job": 1, "job_item": 2}
    assert [path.name for path in made.path.parent.iterdir()] == [name]
    with SqliteStore.open(made.path) as copy:
        assert copy.images.rows(ids) == store.images.rows(ids)
        assert copy.jobs.get(job.id) == job
        assert copy.jobs.items(job.id) == store.jobs.items(job.id)
        assert copy.fulltext.match("lighthouse sea", 50) == store.fulltext.match("lighthouse sea", 50)
        assert copy.events.recent(5) == store.events.recent(5)
        assert store.index_tasks.counts() == {"bge_prompt": {"pending": 40}}
        assert copy.index_tasks.counts() == {"bge_prompt": {"pending": 40}, "clip_h": {"pending": 40}}
        assert copy.vectors.active_revision("clip_h") is None
        revision = copy.vectors.activate("clip_h", "model", 32, "image")
        copy.vectors.put("clip_h", revision, ids, unit_vectors(40, 32))
        assert copy.index_tasks.counts() == {"bge_prompt": {"pending": 40}}


def test_a_job_number_is_not_reused_after_a_restore(store: SqliteStore, tmp_path: Path) -> None:
    job = store.jobs.admit(new_job(items=1))
    with store._database.write() as connection:
        connection.execute("DELETE FROM job_item")
        connection.execute("DELETE FROM job")
    made = write_backup(store.path, tmp_path / "backup.db")
    with SqliteStore.open(made.path) as copy:
        assert copy.jobs.admit(new_job(items=1)).id > job.id


def test_every_table_is_copied_or_named_as_derived(store: SqliteStore, tmp_path: Path) -> None:
    fill(store)
    made = write_backup(store.path, tmp_path / "backup.db")
    connection, copy = apsw.Connection(str(store.path)), apsw.Connection(str(made.path))
    tables = non_derived_tables(connection)
    assert set(USER_DATA_TABLES + LEDGER_TABLES) <= {table.name for table in tables}
    for table in tables:
        query = f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY {table.key}"
        assert copy.execute(query).fetchall() == connection.execute(query).fetchall(), table.name
    schema = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT GLOB '*_[0-9]*' AND sql NOT NULL ORDER BY 1, 2"
    assert copy.execute(schema).fetchall() == connection.execute(schema).fetchall()
    connection.close()
    copy.close()


def test_writes_during_a_backup_neither_wait_nor_make_it_inconsistent(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rating and a tag that belong together are both in the backup, or neither is."""
    ids = fill(store, 60)
    monkeypatch.setattr(backup_module, "STEPS_PER_SLICE", 100)
    monkeypatch.setattr(backup_module, "PAUSE_SECONDS", 0.0005)
    began, ended = threading.Event(), threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        began.wait(20)
        while not ended.is_set():
            with store._database.write() as connection:
                connection.execute("UPDATE rating SET value = 1 + value % 5 WHERE image_id = ?", (ids[0],))
                connection.execute("UPDATE note SET text = (SELECT value FROM rating WHERE image_id = ?)", (ids[0],))
            written += 1

    with store._database.write() as connection:
        connection.execute("UPDATE note SET text = '4'")
    writer = threading.Thread(target=write)
    writer.start()
    at_table: list[int] = []

    def on_step(text: str) -> bool:
        began.set()
        if text:
            at_table.append(written)
            # The writer goes on while the backup stands still here: it holds no lock that writers want.
            deadline = written + 1
            while written < deadline:
                time.sleep(0)
        return False

    try:
        made = write_backup(store.path, tmp_path / "backup.db", on_step=on_step)
    finally:
        ended.set()
        writer.join()
    assert at_table[-1] > at_table[0]
    with SqliteStore.open(made.path) as copy:
        row = copy.images.get(ids[0])
        assert row is not None
        assert row.note == str(row.rating)


def test_a_backup_is_cancelled_when_the_program_stops(store: SqliteStore, tmp_path: Path) -> None:
    fill(store)
    steps: list[str] = []

    def on_step(text: str) -> bool:
        steps.append(text)
        return True

    backup_module_slice = backup_module.STEPS_PER_SLICE
    try:
        backup_module.STEPS_PER_SLICE = 10
        with pytest.raises(BackupStopped):
            write_backup(store.path, tmp_path / "folder" / "backup.db", on_step=on_step)
    finally:
        backup_module.STEPS_PER_SLICE = backup_module_slice
    assert list((tmp_path / "folder").iterdir()) == []


def test_an_existing_file_is_not_overwritten(store: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "mine.db").write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        write_backup(store.path, tmp_path / "mine.db")
    assert (tmp_path / "mine.db").read_text() == "mine"
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write the backup"):
        write_backup(store.path, tmp_path / "file" / "backup.db")


@pytest.mark.skipif(sys.platform == "win32", reason="the faulty file system of the test needs POSIX locks")
def test_a_full_disk_at_any_write_leaves_no_partial_backup(
    store: SqliteStore, tmp_path: Path, disk: FaultyDisk
) -> None:
    fill(store)
    folder = tmp_path / "backups"
    failures = 0
    for writes in range(0, 500, 7):
        disk.fill_after(writes)
        try:
            made = write_backup(store.path, folder / "backup.db", vfs=disk.name)
        except StorageFull as error:
            failures += 1
            assert "no room for the backup" in str(error)
            assert list(folder.iterdir()) == []
            continue
        break
    assert failures > 3
    verify_backup(made.path, made.rows)
    assert not suspect_marker(store.path).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the faulty file system of the test needs POSIX locks")
def test_a_backup_whose_sync_failed_is_discarded(store: SqliteStore, tmp_path: Path, disk: FaultyDisk) -> None:
    disk.break_syncs_after(0)
    with pytest.raises(StoreError, match="check the disk"):
        write_backup(store.path, tmp_path / "backups" / "backup.db", vfs=disk.name)
    assert list((tmp_path / "backups").iterdir()) == []


def test_rows_that_changed_during_the_copy_are_detected(store: SqliteStore, tmp_path: Path) -> None:
    fill(store)
    made = write_backup(store.path, tmp_path / "backup.db")
    with pytest.raises(StoreError, match="does not hold what was copied"):
        verify_backup(made.path, {**made.rows, "rating": 6})
    damaged = bytearray(made.path.read_bytes())
    damaged[3 * 16384 : 4 * 16384] = bytes(16384)
    made.path.write_bytes(damaged)
    with pytest.raises(StoreError, match="damaged"):
        verify_backup(made.path)


def test_a_damaged_index_is_marked_and_not_backed_up(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with SqliteStore.open(path) as store:
        fill(store, 400)
    content = bytearray(path.read_bytes())
    for start in range(20 * 16384, len(content), 16384):
        content[start : start + 100] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(IndexDamaged, match="restart the daemon"):
        write_backup(path, tmp_path / "backup.db")
    assert suspect_marker(path).exists()
    assert not (tmp_path / "backup.db").exists()


def test_old_backups_are_deleted_only_after_the_new_one_was_verified(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backups"
    day = 86400.0
    for number in range(5):
        nightly_backup(store.path, folder, 2, 0, day * (100 + number), on_step=lambda _: False)
    assert [path.name for path in sorted(folder.iterdir())] == [
        "index-19700414T000000Z.db",
        "index-19700415T000000Z.db",
    ]

    def broken(*_: object) -> None:
        raise StoreError("damaged")

    monkeypatch.setattr(backup_module, "verify_backup", broken)
    with pytest.raises(StoreError):
        nightly_backup(store.path, folder, 1, 0, day * 200, on_step=lambda _: False)
    assert len(list(folder.iterdir())) == 2


def test_a_restore_renames_the_current_index_with_its_log(tmp_path: Path) -> None:
    path, other = tmp_path / "index.db", tmp_path / "backup.db"
    with SqliteStore.open(path) as store:
        ids = fill(store)
        write_backup(path, other)
        store.annotations.rate(ids, 1)
    before = other.read_bytes()
    aside = restore_backup(path, other, 1_000_000.0)
    assert aside == tmp_path / "index.db.before-restore-19700112T134640Z"
    assert other.read_bytes() == before
    with SqliteStore.open(path) as store:
        row = store.images.get(ids[0])
        assert row is not None
        assert (row.rating, row.note) == (4, "the good one")
    with SqliteStore.open(aside) as store:
        row = store.images.get(ids[0])
        assert row is not None
        assert row.rating == 1


def test_an_invalid_backup_is_refused_and_nothing_is_moved(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with SqliteStore.open(path) as store:
        fill(store)
    whole = path.read_bytes()
    wrong = tmp_path / "wrong.db"
    with pytest.raises(StoreError, match="no file"):
        restore_backup(path, wrong, 0.0)
    wrong.write_bytes(b"dear diary " * 50)
    with pytest.raises(StoreError, match="damaged or not an index"):
        restore_backup(path, wrong, 0.0)
    wrong.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="damaged"):
        restore_backup(path, wrong, 0.0)
    wrong.unlink()
    connection = apsw.Connection(str(wrong))
    connection.execute("CREATE TABLE theirs (x)").fetchall()
    connection.close()
    with pytest.raises(StoreError, match="no index of indexd"):
        restore_backup(path, wrong, 0.0)
    wrong.write_bytes(whole)
    connection = apsw.Connection(str(wrong))
    connection.execute("PRAGMA journal_mode = DELETE; PRAGMA user_version = 99").fetchall()
    connection.close()
    with pytest.raises(StoreError, match="newer indexd"):
        restore_backup(path, wrong, 0.0)
    with pytest.raises(StoreError, match="current index itself"):
        restore_backup(path, path, 0.0)
    assert path.read_bytes() == whole
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.db", "wrong.db"]


@pytest.mark.parametrize("steps", range(4))
def test_the_next_start_completes_a_killed_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(b"old")
    path.with_name("index.db-wal").write_bytes(b"old log")
    incoming_path(path).write_bytes(b"new")
    done = 0
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        nonlocal done
        if done == steps:
            raise KeyboardInterrupt
        done += 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with contextlib.suppress(KeyboardInterrupt):
            swap_index(path, "damaged", 0.0)
    aside = tmp_path / "index.db.damaged-19700101T000000Z"
    finished = finish_swap(path, 99.0)
    if steps == 0:
        assert not finished
        assert path.read_bytes() == b"old"
        assert path.with_name("index.db-wal").read_bytes() == b"old log"
        return
    assert finished is (steps < 3)
    assert path.read_bytes() == b"new"
    assert aside.read_bytes() == b"old"
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == b"old log"
    assert not path.with_name("index.db-wal").exists()
