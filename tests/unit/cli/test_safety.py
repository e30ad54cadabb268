"""`backup`, `restore`, `check` and `reparse` as a person types them."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from indexd.config import read_config
from indexd.errors import EXIT_ERROR, EXIT_NOTHING_FOUND, EXIT_OK, EXIT_USAGE
from indexd.store.sqlite.store import SqliteStore
from tests.support.sample_library import SampleLibrary
from tests.unit.cli.conftest import Indexd


@pytest.mark.parametrize("command", [("backup",), ("check",), ("reparse",), ("backup", "--list")])
def test_before_there_is_an_index_there_is_nothing(indexd: Indexd, command: tuple[str, ...]) -> None:
    ran = indexd(*command)
    assert ran.code == EXIT_NOTHING_FOUND
    assert ran.err.count("\n") == 1


@pytest.mark.usefixtures("library")
def test_a_backup_is_written_listed_and_brought_back(indexd: Indexd, home: Path) -> None:
    assert indexd("rate", "1", "5").code == EXIT_OK
    made = indexd("backup", "--json").json
    assert Path(made["path"]).parent == home / "backups"
    assert made["rows"]["rating"] == 1
    listed = indexd("backup", "--list", "--json").json["backups"]
    assert [one["path"] for one in listed] == [made["path"]]
    assert made["path"] in indexd("backup", "--list").out
    assert indexd("rate", "1", "2").code == EXIT_OK
    restored = indexd("restore", made["path"], "--json").json
    assert "before-restore" in restored["set_aside"]
    assert Path(restored["set_aside"]).is_file()
    assert indexd("show", "1", "--json").json["image"]["rating"] == 5
    assert Path(made["path"]).is_file()


@pytest.mark.usefixtures("library")
def test_a_backup_goes_where_it_is_told_and_overwrites_nothing(indexd: Indexd, home: Path) -> None:
    mine = home / "mine.db"
    assert indexd("backup", str(mine)).code == EXIT_OK
    before = mine.read_bytes()
    ran = indexd("backup", str(mine))
    assert ran.code == EXIT_ERROR
    assert "not overwritten" in ran.err
    assert mine.read_bytes() == before
    (home / "folder").mkdir()
    assert indexd("backup", str(home / "folder")).code == EXIT_OK
    assert len(list((home / "folder").iterdir())) == 1
    assert indexd("backup", "--list", str(mine)).code == EXIT_USAGE


@pytest.mark.usefixtures("library")
def test_what_is_no_backup_is_refused_in_one_line(indexd: Indexd, home: Path) -> None:
    index = read_config(home).paths.index
    before = index.read_bytes()
    (home / "wrong.db").write_text("dear diary")
    for wrong in (home / "wrong.db", home / "nowhere.db", index, home):
        ran = indexd("restore", str(wrong))
        assert ran.code == EXIT_ERROR
        assert ran.err.startswith("indexd: ")
        assert ran.err.count("\n") == 1
    assert index.read_bytes() == before


@pytest.mark.usefixtures("library")
def test_nothing_is_restored_under_a_running_daemon(indexd: Indexd, home: Path) -> None:
    made = indexd("backup", "--json").json
    places = read_config(home).paths
    lock = FileLock(places.lock)
    with lock:
        places.lock.with_suffix(".pid").write_text("4711\n")
        ran = indexd("restore", made["path"])
    assert ran.code == EXIT_ERROR
    assert "process 4711" in ran.err
    assert "stop it first" in ran.err


@pytest.mark.usefixtures("library")
def test_check_says_in_its_exit_code_whether_something_is_damaged(indexd: Indexd, home: Path) -> None:
    assert indexd("check").code == EXIT_OK
    assert indexd("check", "--full", "--json").json["checks"][0]["state"] == "ok"
    index = read_config(home).paths.index
    index.write_bytes(bytes(100) + index.read_bytes()[100:])
    ran = indexd("check")
    assert ran.code == EXIT_ERROR
    assert "restart the daemon" in ran.out
    assert indexd("query", "rating:5").err.count("\n") == 1


def test_reparse_reads_what_older_readers_read(indexd: Indexd, library: SampleLibrary) -> None:
    count = len(library.ids)
    ran = indexd("reparse", "--json").json
    assert (ran["read"], ran["changed"], ran["left"]) == (count, count, 0)
    assert indexd("reparse").out == "0 images parsed again, 0 changed\n"
    assert indexd("reparse", "--all").out == f"{count} images parsed again, 0 changed\n"


def test_wrong_settings_of_backups_are_named(indexd: Indexd, home: Path) -> None:
    (home / "indexd.toml").write_text('[backup]\nat = "25:00"\n', "utf-8")
    ran = indexd("check")
    assert ran.code == EXIT_ERROR
    assert "backup.at" in ran.err
    assert "write 03:30 or never" in ran.err
    (home / "indexd.toml").write_text(f"[backup]\nat = 'never'\nfolder = '{home / 'elsewhere'}'\n", "utf-8")
    SqliteStore.open(read_config(home).paths.index).close()
    assert indexd("backup").code == EXIT_OK
    assert len(list((home / "elsewhere").iterdir())) == 1
