"""Many threads on one store, and a foreign process on the same index."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from indexd.errors import StoreError
from indexd.store.sqlite import database as database_module
from indexd.store.sqlite.store import SqliteStore
from tests.unit.store.sample_rows import Library, new_job, unit_vectors


def _together(*bodies: Callable[[], None]) -> list[BaseException]:
    failures: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_writers_and_readers_do_not_block_each_other(store: SqliteStore, library: Library) -> None:
    revision = store.vectors.activate("clip_h", "model", 16, "image")
    done = threading.Event()

    def record() -> None:
        for batch in range(30):
            store.images.ingest(
                [library.sighting(f"{batch}/{n}.png", prompt="cat", stages=("clip_h",)) for n in range(10)], 1.0
            )
        done.set()

    def embed() -> None:
        while not done.is_set() or store.index_tasks.counts():
            items = store.index_tasks.claim("clip_h", 16, now=0.0)
            if items:
                ids = [item.image_id for item in items]
                store.vectors.put("clip_h", revision, ids, unit_vectors(len(ids), 16))
            done.wait(0.001)

    def jobs() -> None:
        for number in range(30):
            store.jobs.admit(new_job(f"job {number}", items=2))

    def ask() -> None:
        query = unit_vectors(1, 16)[0]
        while not done.is_set():
            hits = store.vectors.nearest("clip_h", query, 5)
            assert len(store.images.rows(image_id for image_id, _ in hits)) == len(hits)
            # A batch is one transaction: its ten pictures are seen together or not at all.
            assert len(store.files.present_stamps(library.root.id)) % 10 == 0
            assert len(store.fulltext.match("cat", 1000)) % 10 == 0

    assert _together(record, embed, jobs, ask, ask) == []
    assert store.images.count() == 300
    assert store.index_tasks.counts() == {}
    assert store.jobs.counts() == {"queued": 30}


def test_two_consumers_never_claim_the_same_task(store: SqliteStore, library: Library) -> None:
    ids = library.add_many(200, stages=("clip_h",))
    taken: list[int] = []

    def take() -> None:
        while items := store.index_tasks.claim("clip_h", 7, now=0.0):
            taken.extend(item.image_id for item in items)

    assert _together(take, take, take) == []
    assert sorted(taken) == ids


def test_a_foreign_process_that_locks_the_index_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 20)
    with SqliteStore.open(tmp_path / "index.db") as store:
        stranger = apsw.Connection(str(tmp_path / "index.db"))
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="being written by another program"):
            store.key_values.set("a", "b")
        assert store.key_values.get("a") is None
        stranger.execute("ROLLBACK")
        stranger.close()
        store.key_values.set("a", "b")
        assert store.key_values.get("a") == "b"


def test_closing_ends_running_reads_with_one_sentence(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "index.db")
    started = threading.Barrier(3)

    def read() -> None:
        started.wait()
        with pytest.raises(StoreError, match="is closed"):
            while True:
                store.key_values.get("a")

    def close() -> None:
        started.wait()
        store.close()

    assert _together(read, read, close) == []


def test_idle_readers_release_their_pages_and_keep_working(store: SqliteStore, library: Library) -> None:
    library.store.images.ingest([library.sighting(f"{n}.png", prompt=f"a cat {n}") for n in range(2000)], 1.0)

    def ask() -> int:
        return len(store.files.present_stamps(library.root.id))

    def cached() -> int:
        ours = [one for one in apsw.connections() if one.filename == str(store.path) and one.readonly("main")]
        return sum(one.status(apsw.SQLITE_DBSTATUS_CACHE_USED)[0] for one in ours)

    assert ask() == 2000
    before = cached()
    store.release_memory()
    assert cached() < before / 4
    assert ask() == 2000
    library.add("one more.png")
    assert ask() == 2001


@pytest.mark.parametrize("made", ["now", "before"])
def test_the_page_cache_of_the_writer_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str) -> None:
    monkeypatch.setattr(database_module, "WRITER_CACHE_KIB", 1024)
    if made == "before":
        SqliteStore.open(tmp_path / "index.db").close()
    with SqliteStore.open(tmp_path / "index.db") as store:
        library = Library(store, store.roots.ensure(b"/pictures", "images"))
        for batch in range(60):
            text = "".join(f" {batch}-{word}" for word in range(2000))
            store.images.ingest([library.sighting(f"{batch}/{n}.png", prompt=f"{n}{text}") for n in range(4)], 1.0)
        (writer,) = [one for one in apsw.connections() if one.filename == str(store.path) and not one.readonly("main")]
        assert (tmp_path / "index.db-wal").stat().st_size > 4 << 20
        # One transaction may go beyond it.
        assert writer.status(apsw.SQLITE_DBSTATUS_CACHE_USED)[0] < 2 << 20


def test_releasing_pages_opens_no_additional_readers(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that is opened stays, with its file handles: one too many each minute would add up."""
    database = store._database
    with database.read(), database.read():
        pass
    keep, asking = database._release_reader, [False]

    def asked_before(reader: apsw.Connection) -> None:
        if not asking[0]:
            asking[0] = True
            assert store.key_values.get("a") is None
            asking[0] = False
        keep(reader)

    monkeypatch.setattr(database, "_release_reader", asked_before)
    for _ in range(5):
        store.release_memory()
    assert len(database._readers) == 2
