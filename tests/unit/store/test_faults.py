"""A disk that fills up or fails at any moment: no partial write, one sentence, and the same store continues."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from indexd.errors import StorageFull, StoreError
from indexd.store.records import ItemOutput
from indexd.store.sqlite.faulty_vfs import FaultyDisk
from indexd.store.sqlite.migrate import Migration, migrations, open_database
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.job_state import JobState
from tests.unit.store.sample_rows import Library, new_job, unit_vectors


@pytest.mark.skipif(sys.platform == "win32", reason="the faulty file system of the test needs POSIX locks")
def test_a_full_disk_at_any_write_leaves_no_partial_batch(tmp_path: Path, disk: FaultyDisk) -> None:
    with SqliteStore.open(tmp_path / "index.db", vfs=disk.name) as store:
        library = Library(store, store.roots.ensure(b"/pictures", "images"))
        failures = 0
        for writes in range(200):
            batch = [
                library.sighting(f"{writes}/{number}.png", prompt=f"cat word{writes}", stages=("clip_h",))
                for number in range(20)
            ]
            before = store.images.count()
            disk.fill_after(writes)
            try:
                store.images.ingest(batch, 1.0)
            except StorageFull as error:
                failures += 1
                assert "is full; nothing of this change was kept" in str(error)
                disk.repair()
                assert store.images.count() == before
                assert store.files.present_stamps(library.root.id, f"{writes}".encode()) == {}
                assert store.fulltext.match(f"word{writes}", 50) == []
                assert store.index_tasks.counts().get("clip_h", {}).get("pending", 0) == before
                continue
            disk.repair()
            assert store.images.count() == before + 20
            break
        assert failures > 3


@pytest.mark.skipif(sys.platform == "win32", reason="the faulty file system of the test needs POSIX locks")
def test_vectors_and_their_index_tasks_are_written_together_on_a_full_disk(tmp_path: Path, disk: FaultyDisk) -> None:
    with SqliteStore.open(tmp_path / "index.db", vfs=disk.name) as store:
        library = Library(store, store.roots.ensure(b"/pictures", "images"))
        ids = library.add_many(20, stages=("clip_h",))
        revision = store.vectors.activate("clip_h", "model", 32, "image")
        vectors = unit_vectors(20, 32)
        for writes in range(200):
            disk.fill_after(writes)
            try:
                store.vectors.put("clip_h", revision, ids, vectors)
            except StorageFull:
                disk.repair()
                assert store.index_tasks.counts() == {"clip_h": {"pending": 20}}
                assert store.vectors.nearest("clip_h", vectors[0], 5) == []
                continue
            break
        disk.repair()
        assert store.index_tasks.counts() == {}
        assert len(store.vectors.nearest("clip_h", vectors[0], 50)) == 20


@pytest.mark.skipif(sys.platform == "win32", reason="the faulty file system of the test needs POSIX locks")
def test_an_admitted_job_is_on_the_disk(tmp_path: Path, disk: FaultyDisk) -> None:
    with SqliteStore.open(tmp_path / "index.db", vfs=disk.name) as store:
        store.key_values.set("a", "b")
        before = disk.syncs
        store.key_values.set("a", "c")
        assert disk.syncs == before
        job = store.jobs.admit(new_job(items=1))
        assert disk.syncs > before
        (item,) = store.jobs.items(job.id)
        for durable in (
            lambda: store.jobs.begin_attempt(item.id),
            lambda: store.jobs.mark_published(item.id, ItemOutput(b"/out/x.png", b"h", 1.0)),
            lambda: store.jobs.finish(job.id, JobState.DONE),
            lambda: store.jobs.set_file_location(job.id, "done"),
        ):
            before = disk.syncs
            durable()
            assert disk.syncs > before
        before = disk.syncs
        store.key_values.set("a", "d")
        assert disk.syncs == before


@pytest.mark.skipif(sys.platform == "win32", reason="the faulty file system of the test needs POSIX locks")
def test_a_job_whose_sync_failed_is_not_admitted(tmp_path: Path, disk: FaultyDisk) -> None:
    with SqliteStore.open(tmp_path / "index.db", vfs=disk.name) as store:
        disk.break_syncs_after(0)
        with pytest.raises(StoreError, match="check the disk"):
            store.jobs.admit(new_job())
        disk.repair()
        assert store.jobs.list() == []
        assert store.jobs.admit(new_job()).state == "queued"
    with SqliteStore.open(tmp_path / "index.db") as store:
        assert len(store.jobs.list()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="the faulty file system of the test needs POSIX locks")
def test_an_index_is_created_once_the_disk_has_space_again(tmp_path: Path, disk: FaultyDisk) -> None:
    for writes in range(0, 40, 3):
        disk.fill_after(writes)
        try:
            SqliteStore.open(tmp_path / "index.db", vfs=disk.name).close()
        except StorageFull:
            continue
        break
    disk.repair()
    with SqliteStore.open(tmp_path / "index.db", vfs=disk.name) as store:
        assert store.images.count() == 0


def test_without_space_for_the_copy_the_schema_is_not_migrated(tmp_path: Path, disk: FaultyDisk) -> None:
    path = tmp_path / "index.db"
    SqliteStore.open(path).close()
    steps = [*migrations(), Migration(len(migrations()) + 1, "CREATE TABLE later (x)")]
    disk.fill_after(2)
    with pytest.raises(StorageFull, match=rf"not enough disk space for .*index\.db\.v{len(migrations())}\.bak"):
        open_database(path, vfs=disk.name, steps=steps)
    disk.repair()
    assert [file.name for file in tmp_path.iterdir()] == ["index.db"]
    SqliteStore.open(path).close()
    open_database(path, vfs=disk.name, steps=steps).close()
    assert (tmp_path / f"index.db.v{len(migrations())}.bak").exists()
