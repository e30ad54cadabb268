"""`check` finds each kind of damage, and reports nothing for an intact index."""

from __future__ import annotations

import os
import random
from pathlib import Path

import apsw
import pytest

from indexd.image_metadata.model import PARSER_VERSION
from indexd.store.sqlite.database import PAGE_BYTES, suspect_marker
from indexd.store.sqlite.recovery import index_check as examine_module
from indexd.store.sqlite.recovery.backup import load_vector_extension
from indexd.store.sqlite.recovery.index_check import CheckFinding, check_index
from indexd.store.sqlite.store import SqliteStore
from tests.support.sample_library import SampleLibrary, make_library
from tests.unit.store.sample_rows import new_job


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "index.db"
    with SqliteStore.open(path) as store:
        library: SampleLibrary = make_library(store, tmp_path / "pictures", images_per_subject=3)
        store.annotations.rate(list(library.ids.values()), 3)
        store.jobs.admit(new_job(items=2))
    change(path, f"UPDATE image SET parser_version = {PARSER_VERSION}")
    return path


def findings(index: Path, *, full: bool = False) -> dict[str, CheckFinding]:
    """What is not well, by name."""
    return {one.name: one for one in check_index(index, full=full) if one.state != "ok"}


def change(index: Path, *statements: str) -> None:
    connection = apsw.Connection(str(index))
    load_vector_extension(connection)
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()


@pytest.mark.parametrize("full", [False, True])
def test_an_intact_index_has_no_findings_and_is_not_changed(index: Path, full: bool) -> None:
    before = index.read_bytes()
    assert findings(index, full=full) == {}
    assert [one.name for one in check_index(index, full=full)].count("vectors") >= 1
    assert index.read_bytes() == before


def test_the_check_runs_beside_a_running_daemon(index: Path) -> None:
    with SqliteStore.open(index) as store:
        store.annotations.rate([1], 5)
        assert findings(index, full=True) == {}
        store.annotations.rate([1], 4)


def test_damage_is_found_and_its_cure_is_named(index: Path) -> None:
    content = bytearray(index.read_bytes())
    connection = apsw.Connection(str(index))
    [(page,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'rating'").fetchall()
    connection.close()
    assert isinstance(page, int)
    content[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = random.Random(1).randbytes(PAGE_BYTES)
    index.write_bytes(content)
    found = findings(index)["pages"]
    assert found.state == "failed"
    assert "restart the daemon" in (found.advice or "")
    assert "\n" not in found.detail


def test_a_lost_header_is_one_finding(index: Path) -> None:
    index.write_bytes(bytes(100) + index.read_bytes()[100:])
    found = list(check_index(index, full=True))
    assert [one.state for one in found] == ["failed"]


def test_the_damage_marker_of_an_earlier_process_is_reported(index: Path) -> None:
    suspect_marker(index).touch()
    assert findings(index)["damage"].state == "warning"


def test_orphaned_rows_are_reported(index: Path) -> None:
    change(index, "INSERT INTO rating (image_id, value, rated_at) VALUES (999, 3, 0)")
    assert findings(index)["references"].state == "failed"


def test_images_without_full_text_are_reported(index: Path) -> None:
    change(index, "DELETE FROM prompt_fts WHERE rowid = 2")
    assert findings(index) == {}
    assert "1 images are missing" in findings(index, full=True)["full text"].detail


def test_invalid_vectors_and_missing_codes_are_reported(index: Path) -> None:
    connection = apsw.Connection(str(index))
    revision, generation = connection.execute(
        "SELECT id, generation FROM revision WHERE active AND layer = 'clip_h'"
    ).fetchall()[0]
    connection.close()
    change(index, f"DELETE FROM codes_{revision}_{generation} WHERE image_id = 1")
    assert "no code" in findings(index, full=True)["vectors"].detail
    change(index, f"UPDATE embedding_{revision} SET vector = zeroblob(length(vector))")
    assert findings(index)["vectors"].state == "failed"
    change(index, f"UPDATE embedding_{revision} SET vector = x'00'")
    assert findings(index)["vectors"].state == "failed"


def test_an_inconsistent_job_ledger_is_reported(index: Path) -> None:
    change(index, "UPDATE job SET state = 'done'")
    found = findings(index)["ledger"]
    assert found.state == "warning"
    assert "2 items are pending in finished jobs" in found.detail


def test_files_that_differ_from_the_index_are_reported(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine_module, "SAMPLE_FILES", 500)
    with SqliteStore.open(index, read_only=True) as store:
        paths = list(store.images.paths(range(1, 5)).values())
    os.unlink(paths[0])
    content = Path(os.fsdecode(paths[1])).read_bytes()
    found = findings(index)["files"]
    assert found.state == "warning"
    assert "is gone" in found.detail
    stat = os.stat(paths[1])
    Path(os.fsdecode(paths[1])).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(paths[1], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "other bytes" not in findings(index)["files"].detail
    assert "same size and time but other bytes" in findings(index, full=True)["files"].detail


def test_metadata_of_older_parsers_is_reported(index: Path) -> None:
    change(index, "UPDATE image SET parser_version = 0 WHERE id < 3")
    found = findings(index)["metadata"]
    assert found.advice == "`indexd reparse`"
    assert found.detail.startswith("2 images")
