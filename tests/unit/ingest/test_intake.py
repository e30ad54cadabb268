"""Between the watchers and the index: what cannot be taken now is taken later, and a dead thread stops the rest at once."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from indexd import ingest, registry
from indexd.errors import StorageFull, StoreUnavailable
from indexd.fs.file_stamp import FileStamp, SettledFile
from indexd.fs.paths import absolute
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.ingest import IngestPipeline
from indexd.registry import IngestContext
from indexd.store.protocols import IndexStore
from indexd.store.records import IngestResult, ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.settings import Settings

WAIT = 30.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IndexStore]:
    store = SqliteStore.open(tmp_path / "index.db")
    yield store
    store.close()


@pytest.fixture
def failures() -> list[BaseException]:
    return []


@pytest.fixture
def make(store: IndexStore, failures: list[BaseException]) -> Callable[..., IngestPipeline]:
    def made(readers: int = 1) -> IngestPipeline:
        return IngestPipeline(store, IngestContext(Settings()), lambda _recorded: None, failures.append, readers)

    return made


def _file(store: IndexStore, number: int, purpose: str = "images") -> SettledFile:
    root = store.roots.ensure(b"/folder", purpose)
    return SettledFile(root.id, root.path, b"%d" % number, FileStamp(1, number, number), purpose)


def _handle(monkeypatch: pytest.MonkeyPatch, kind: str, handler: Callable[..., ScannedFile | None]) -> None:
    def handle_batch(files: Sequence[SettledFile], context: IngestContext) -> list[ScannedFile | Exception | None]:
        results: list[ScannedFile | Exception | None] = []
        for file in files:
            try:
                results.append(handler(file, context))
            except Exception as error:
                results.append(error)
        return results

    registry.file_kinds.fill()
    monkeypatch.setitem(registry.file_kinds._handlers, kind, handle_batch)


def _no_picture(file: SettledFile, _context: IngestContext) -> ScannedFile:
    return ScannedFile(file.root_id, file.rel, file.stamp, None, "no picture")


def _joined(work: Callable[[], None]) -> bool:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(WAIT)
    return not thread.is_alive()


def test_a_job_file_that_the_disk_has_no_room_for_is_taken_when_there_is(
    make: Callable[..., IngestPipeline], store: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, tries = threading.Event(), []

    def take(file: SettledFile, _context: IngestContext) -> None:
        tries.append(file.rel)
        if len(tries) < 3:
            raise StorageFull("the disk is full")
        taken.set()

    _handle(monkeypatch, "job", take)
    monkeypatch.setattr(ingest, "RETRY_SECONDS", 0.01)
    takes = make()
    takes.start()
    takes.deliver(_file(store, 1, "jobs"))
    assert taken.wait(WAIT)
    takes.stop()
    assert tries == [b"1"] * 3


@pytest.mark.parametrize(
    "trouble",
    [
        StorageFull("the disk is full"),
        StoreUnavailable("another program holds it"),
        OSError(errno.EMFILE, "Too many open files"),
    ],
)
def test_what_the_index_cannot_take_now_is_offered_again(
    make: Callable[..., IngestPipeline], store: IndexStore, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    record, troubles, done = store.images.ingest, iter([trouble] * 2), threading.Event()

    def refused_twice(batch: list[ScannedFile], now: float) -> list[IngestResult]:
        for error in troubles:
            raise error
        done.set()
        return record(batch, now)

    _handle(monkeypatch, "image", _no_picture)
    monkeypatch.setattr(store.images, "ingest", refused_twice)
    monkeypatch.setattr(ingest, "RETRY_SECONDS", 0.01)
    takes = make()
    takes.start()
    takes.deliver(_file(store, 1))
    assert done.wait(WAIT)
    takes.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_recorder_is_told_and_holds_nobody_up(
    make: Callable[..., IngestPipeline],
    store: IndexStore,
    failures: list[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    _handle(monkeypatch, "image", _no_picture)
    monkeypatch.setattr(ingest, "BATCH_IMAGES", 1)
    monkeypatch.setattr(store.images, "ingest", broken)
    takes = make()
    takes._scanned_files.maxsize = 1  # full at once, as 512 are on a large scan
    takes.start()
    for number in range(20):
        takes.deliver(_file(store, number))
    assert _joined(takes.drain)
    assert _joined(takes.stop)
    assert [type(error) for error in failures] == [ZeroDivisionError]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failed_reader_is_reported_and_the_pipeline_still_stops(
    make: Callable[..., IngestPipeline],
    store: IndexStore,
    failures: list[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.file_kinds.fill()
    # A handler that returns no result for a file is a bug of the handler, not of the file.
    monkeypatch.setitem(registry.file_kinds._handlers, "image", lambda _files, _context: [])
    pipeline = make()
    pipeline.start()
    pipeline.deliver(_file(store, 1))
    assert _joined(pipeline.drain)
    assert _joined(pipeline.stop)
    assert [type(error) for error in failures] == [ValueError]


def test_what_is_read_again_counts_as_being_read(
    make: Callable[..., IngestPipeline], store: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, go_on = threading.Event(), threading.Event()

    def picture(_file: SettledFile, _context: IngestContext) -> None:
        if not again.is_set():
            again.set()
            raise OSError(errno.EIO, "a bad moment")
        reads.release()
        go_on.wait(WAIT)

    reads = threading.Semaphore(0)
    _handle(monkeypatch, "image", picture)
    monkeypatch.setattr(ingest, "RETRY_SECONDS", 0.001)
    takes = make()
    takes.start()
    takes.deliver(_file(store, 1))
    assert reads.acquire(timeout=WAIT)
    waiting = takes.pending_count()
    go_on.set()
    takes.stop()
    assert waiting == 1


def test_files_that_fail_again_and_again_leave_new_ones_their_turn(
    make: Callable[..., IngestPipeline], store: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, read = threading.Semaphore(0), threading.Event()

    def picture(file: SettledFile, _context: IngestContext) -> None:
        if file.rel == b"99":
            read.set()
            return
        tried.release()
        time.sleep(0.01)  # longer than its pause: a share that answers nothing takes its time to say so
        raise OSError(errno.ETIMEDOUT, "a share is away")

    _handle(monkeypatch, "image", picture)
    monkeypatch.setattr(ingest, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(ingest, "MAX_RETRY_SECONDS", 0.001)
    takes = make()
    takes.start()
    for number in range(3):
        takes.deliver(_file(store, number))
    for _ in range(6):
        assert tried.acquire(timeout=WAIT)
    takes.deliver(_file(store, 99))
    in_time = read.wait(5.0)
    takes.stop()
    assert in_time


def test_who_waits_for_the_queue_is_let_go_when_the_daemon_stops(
    make: Callable[..., IngestPipeline], store: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slow(file: SettledFile, context: IngestContext) -> ScannedFile:
        reading.set()
        go_on.wait(WAIT)
        return _no_picture(file, context)

    _handle(monkeypatch, "image", slow)
    takes = make()
    takes.start()
    takes.deliver(_file(store, 1))
    assert reading.wait(WAIT)
    waiter = threading.Thread(target=takes.drain, daemon=True)
    waiter.start()
    stopper = threading.Thread(target=takes.stop, daemon=True)
    stopper.start()
    go_on.set()
    for thread in (waiter, stopper):
        thread.join(WAIT)
        assert not thread.is_alive()


def test_a_file_that_cannot_be_recorded_costs_its_neighbours_nothing(
    make: Callable[..., IngestPipeline],
    store: IndexStore,
    failures: list[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    record = store.images.ingest

    def overflows(batch: list[ScannedFile], now: float) -> list[IngestResult]:
        if any(scanned.rel == b"1" and scanned.facts is not None for scanned in batch):
            raise OverflowError("int too big to convert")
        return record(batch, now)

    facts = ImageFacts(b"\1" * 32, 1, "png", 8, 8, 1, ImageMetadata())
    monkeypatch.setattr(store.images, "ingest", overflows)
    takes = make()
    takes.start()
    files = [_file(store, number) for number in range(3)]
    for file in files:
        takes._enqueue_for_recording(ScannedFile(file.root_id, file.rel, file.stamp, facts))
    takes.drain()
    takes.stop()
    assert failures == []
    rows = [store.files.find(absolute(files[0].root, b"%d" % number)) for number in range(3)]
    assert [row is not None and row.problem for row in rows] == [
        None,
        "could not be recorded: OverflowError: int too big to convert",
        None,
    ]
    assert "bug while recording b'1'" in caplog.text
