"""Opening an index: created, reopened, migrated, or refused with one sentence."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import apsw
import pytest

from indexd.errors import StoreError
from indexd.store.sqlite import migrate
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.library import fulltext_refill
from indexd.store.sqlite.library.fulltext import refresh_fulltext
from indexd.store.sqlite.migrate import APPLICATION_ID, Migration, migrations, open_database
from indexd.store.sqlite.store import SqliteStore


def _value(path: Path, sql: str) -> object:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(sql).fetchall()[0][0]
    finally:
        connection.close()


def test_a_new_index_has_its_application_id_and_schema_version(tmp_path: Path) -> None:
    SqliteStore.open(tmp_path / "deep" / "index.db").close()
    path = tmp_path / "deep" / "index.db"
    assert _value(path, "PRAGMA application_id") == APPLICATION_ID
    assert _value(path, "PRAGMA user_version") == len(migrations())
    assert _value(path, "PRAGMA journal_mode") == "wal"


def test_closing_leaves_one_file_and_is_idempotent(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "index.db")
    store.key_values.set("a", "b")
    store.close()
    store.close()
    assert [file.name for file in tmp_path.iterdir()] == ["index.db"]
    with pytest.raises(StoreError, match="is closed"):
        store.key_values.get("a")
    with pytest.raises(StoreError, match="is closed"):
        store.key_values.set("a", "c")


def test_written_rows_are_present_after_reopening(tmp_path: Path) -> None:
    with SqliteStore.open(tmp_path / "index.db") as store:
        store.key_values.set("a", "b")
    with SqliteStore.open(tmp_path / "index.db") as store:
        assert store.key_values.get("a") == "b"


def test_a_newer_index_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    SqliteStore.open(path).close()
    _execute(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"made by a newer indexd .*update indexd"):
        SqliteStore.open(path)
    with pytest.raises(StoreError, match="newer indexd"):
        SqliteStore.open(path, read_only=True)
    assert path.read_bytes() == before


def test_the_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    _execute(path, "CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="of another program"):
        SqliteStore.open(path)
    assert _value(path, "SELECT count(*) FROM sqlite_master") == 1


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(b"dear diary, " * 100)
    with pytest.raises(StoreError, match="damaged or not an index"):
        SqliteStore.open(path)
    assert path.read_bytes().startswith(b"dear diary")


def test_a_folder_at_the_path_of_the_index_is_refused_with_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot open the index"):
        SqliteStore.open(tmp_path)


def test_a_folder_that_cannot_be_created_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot make the folder of the index"):
        SqliteStore.open(tmp_path / "file" / "index.db")


def test_a_network_file_system_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "network_filesystem", lambda folder: "nfs4")
    with pytest.raises(StoreError, match=r"network file system \(nfs4\)"):
        SqliteStore.open(tmp_path / "index.db")
    assert list(tmp_path.iterdir()) == []


def test_read_only_access_requires_an_index_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with pytest.raises(StoreError, match="there is no index"):
        SqliteStore.open(path, read_only=True)
    assert not path.exists()
    path.touch()
    with pytest.raises(StoreError, match="is empty"):
        SqliteStore.open(path, read_only=True)


def test_a_reader_beside_the_daemon_sees_committed_rows(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with SqliteStore.open(path) as daemon:
        daemon.key_values.set("a", "1")
        with SqliteStore.open(path, read_only=True) as reader:
            assert reader.key_values.get("a") == "1"
            daemon.key_values.set("a", "2")
            assert reader.key_values.get("a") == "2"
            with pytest.raises(StoreError, match="for reading only"):
                reader.key_values.set("a", "3")


@pytest.mark.skipif(
    sys.platform == "win32", reason="on Windows the instance lock keeps creators apart, SQLite does not"
)
def test_two_processes_can_create_the_index_at_the_same_time(tmp_path: Path) -> None:
    path, failures = tmp_path / "index.db", []

    def make() -> None:
        try:
            SqliteStore.open(path).close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


NEWEST = len(migrations())
NEXT = Migration(NEWEST + 1, "ALTER TABLE meta ADD COLUMN kept_since REAL;")


def test_a_migration_keeps_a_complete_copy_of_the_old_schema(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with SqliteStore.open(path) as store:
        store.key_values.set("a", "b")
    open_database(path, steps=[*migrations(), NEXT]).close()
    assert _value(path, "PRAGMA user_version") == NEWEST + 1
    assert _value(path, "SELECT count(*) FROM pragma_table_info('meta') WHERE name = 'kept_since'") == 1
    copy = tmp_path / f"index.db.v{NEWEST}.bak"
    assert _value(copy, "PRAGMA user_version") == NEWEST
    assert _value(copy, "SELECT value FROM meta WHERE key = 'a'") == "b"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.db", copy.name]


def test_a_failed_migration_leaves_the_old_schema(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    SqliteStore.open(path).close()
    broken = Migration(NEWEST + 1, "CREATE TABLE half (x); CREATE TABLE half (x);")
    with pytest.raises(apsw.SQLError, match="half"):
        open_database(path, steps=[*migrations(), broken])
    assert _value(path, "PRAGMA user_version") == NEWEST
    assert _value(path, "SELECT count(*) FROM sqlite_master WHERE name = 'half'") == 0
    open_database(path, steps=[*migrations(), NEXT]).close()
    assert _value(path, "PRAGMA user_version") == NEWEST + 1


def test_reading_an_index_of_an_older_schema_says_how_to_migrate_it(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    SqliteStore.open(path).close()
    with pytest.raises(StoreError, match="older indexd; start the daemon once"):
        open_database(path, read_only=True, steps=[*migrations(), NEXT])


def _first_index(path: Path) -> None:
    """An index of the first schema, whose full text holds the texts themselves."""
    open_database(path, steps=migrations()[:1]).close()
    _execute(
        path,
        """
        INSERT INTO root (id, path, purpose) VALUES (1, x'2f70', 'images');
        INSERT INTO image (id, content_hash, byte_count, format, width, height, frame_count, added_at, created_at, parser_version)
            VALUES (1, x'01', 1, 'PNG', 1, 1, 1, 0, 0, 0), (2, x'02', 1, 'PNG', 1, 1, 1, 0, 0, 0), (3, x'03', 1, 'PNG', 1, 1, 1, 0, 0, 0);
        INSERT INTO image_text (image_id, prompt) VALUES (1, '白い猫と犬'), (2, 'a cat'), (3, '赤い花');
        INSERT INTO prompt_fts (rowid, prompt) VALUES (1, '白い猫と犬'), (2, 'a cat'), (3, '赤い花');
        """,
    )


def _match(store: SqliteStore, query: str) -> list[int]:
    return [image_id for image_id, _ in store.fulltext.match(query, 10)]


def test_an_older_full_text_is_filled_anew_when_the_index_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    _first_index(path)
    with pytest.raises(StoreError, match="older indexd"):
        SqliteStore.open(path, read_only=True)
    with SqliteStore.open(path) as store:
        assert (_match(store, "猫"), _match(store, "cat"), _match(store, "赤い")) == ([1], [2], [3])
    SqliteStore.open(path, read_only=True).close()


def test_an_interrupted_filling_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.db"
    _first_index(path)
    monkeypatch.setattr(fulltext_refill, "BATCH_IMAGES", 1)
    filled: list[int] = []

    def refresh(connection: Connection, ids: Iterable[int]) -> None:
        if len(filled) == 2:
            raise StoreError("power cut")
        filled.extend(ids)
        refresh_fulltext(connection, filled[-1:])

    monkeypatch.setattr(fulltext_refill, "refresh_fulltext", refresh)
    with pytest.raises(StoreError, match="power cut"):
        SqliteStore.open(path)
    with pytest.raises(StoreError, match=r"full text .* older indexd; start the daemon once"):
        SqliteStore.open(path, read_only=True)
    monkeypatch.undo()
    monkeypatch.setattr(
        fulltext_refill, "refresh_fulltext", lambda connection, ids: refresh_fulltext(connection, again(ids))
    )

    def again(ids: Iterable[int]) -> list[int]:
        filled.extend(ids)
        return filled[2:]

    with SqliteStore.open(path) as store:
        assert filled == [1, 2, 3]
        assert (_match(store, "猫"), _match(store, "cat"), _match(store, "赤い")) == ([1], [2], [3])


def _execute(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql).fetchall()
    connection.close()
