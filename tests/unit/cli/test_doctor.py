"""`doctor`: each finding with its advice, and none hides another."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from indexd.doctor import groups
from indexd.errors import IndexdError
from indexd.fs.private_files import current_user_id
from indexd_schemas.api.output import DoctorCheck
from tests.support.sample_library import SampleLibrary
from tests.unit.cli.conftest import Indexd


def found(indexd: Indexd, code: int) -> dict[str, DoctorCheck]:
    """The checks by name; each that is not ok has advice."""
    ran = indexd("doctor", "--json")
    assert ran.code == code
    assert ran.json["schema_version"] == 1
    all_found = [DoctorCheck.model_validate(check) for check in ran.json["checks"]]
    assert all((check.advice is None) == (check.state == "ok") for check in all_found)
    return {check.name: check for check in all_found}


def test_a_fresh_home_has_warnings_only(indexd: Indexd) -> None:
    by_name = found(indexd, 1)
    assert by_name["settings"].advice == "run `indexd init`"
    assert by_name["daemon"].state == "warning"
    assert by_name["model bge"].state == "warning"
    assert by_name["index"].state == by_name["daemon packages"].state == "ok"


def test_lines_for_people(indexd: Indexd) -> None:
    shown = indexd("doctor")
    assert shown.code == 1
    assert "WARNING  daemon: it is not running" in shown.out
    assert "→ start it with `indexd run`" in shown.out


def test_all_is_well(indexd: Indexd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's machine is that well in the tests, so some groups stay out."""
    wanted = {name: groups.GROUPS[name] for name in ("data folders", "index", "api access", "clock", "leftovers")}
    monkeypatch.setattr(groups, "GROUPS", wanted)
    assert {check.state for check in found(indexd, 0).values()} == {"ok"}


def test_unusable_settings_are_the_finding(indexd: Indexd, home: Path) -> None:
    (home / "indexd.toml").write_text("[watch\n", "utf-8")
    assert found(indexd, 2)["settings"].state == "failed"


@pytest.mark.skipif(sys.platform == "win32", reason="the expected text has paths of POSIX")
def test_folders_and_index(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    (home / "indexd.toml").write_text('[[roots]]\npath = "/gone/away"\n', "utf-8")
    (home / "inbox").write_text("in the way")
    by_name = found(indexd, 2)
    assert by_name["inbox"].state == "failed"
    assert "/gone/away" in by_name["folder"].detail
    assert "8 images" in by_name["index"].detail


def test_an_index_that_is_none(indexd: Indexd, home: Path) -> None:
    (home / "index.db").write_bytes(b"not a database, " * 1000)
    assert found(indexd, 2)["index"].state == "failed"


def test_work_that_was_set_aside_is_named(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    from indexd.config import read_config
    from indexd.store.sqlite.store import SqliteStore

    with SqliteStore.open(read_config(home).paths.index) as store:
        library.store = store
        image_id = library.add("bad.png", stages=("clip_h",))
        store.index_tasks.claim("clip_h", 1, 1.0)
        store.index_tasks.mark_failed("clip_h", image_id, "poison", retry_at=None)
        store.jobs.pause("the disk is full")
    by_name = found(indexd, 1)
    assert "1 clip_h" in by_name["index tasks"].detail
    assert "the disk is full" in by_name["queue"].detail


@pytest.mark.skipif(current_user_id() in (None, 0), reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(indexd: Indexd, home: Path) -> None:
    (home / "output").mkdir(mode=0o500)
    assert found(indexd, 2)["output"].state == "failed"


def test_a_check_that_breaks_hides_no_other(indexd: Indexd, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_config: object) -> None:
        raise IndexdError("something odd")

    monkeypatch.setitem(groups.GROUPS, "index", broken)
    by_name = found(indexd, 2)
    assert by_name["index"].detail == "something odd"
    assert "model bge" in by_name


def test_an_index_without_a_backup_of_late_is_named(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    def backups() -> list[str]:
        return [check["state"] for check in indexd("doctor", "--json").json["checks"] if check["name"] == "backups"]

    assert backups() == ["warning"]
    assert indexd("backup").code == 0
    assert backups() == ["ok"]
    (made,) = (home / "backups").iterdir()
    made.rename(made.with_name("index-20200101T000000Z.db"))
    assert backups() == ["warning"]
