"""Settled files in, recorded files out: threads that have files read, and one recorder that commits in batches.

Images are read by reader processes, a batch at a time; each thread keeps one of them busy. Job files have a queue and a
thread of their own and never wait behind images. The queues are bounded: a scan of a million files waits for the index
instead of filling memory.
"""

from __future__ import annotations

import heapq
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from indexd.background.background_service import BackgroundService
from indexd.background.backoff import Backoff
from indexd.errors import IndexdError, StoreError, StoreUnavailable, is_transient
from indexd.fs.file_stamp import SettledFile
from indexd.liveness import Liveness
from indexd.registry import IngestContext, file_kinds
from indexd.store.protocols import IndexStore
from indexd.store.records import IngestResult, ScannedFile

log = logging.getLogger(__name__)

QUEUED_FILES_MAX = 2000
BATCH_IMAGES = 256
READ_BATCH_FILES = 16
"""Files that one call to a reader process carries: a process that dies costs a second reading of so many."""
RETRY_SECONDS = 10.0
MAX_RETRY_SECONDS = 600.0
RETRY_FILES_MAX = 10_000
"""At most so many files are kept for a retry; the next scan finds the others."""
HANDLER_OF_PURPOSE = {"images": "image", "jobs": "job"}


class IngestPipeline:
    """Reads and records the files that the watchers deliver. `on_recorded` gets each committed batch."""

    def __init__(
        self,
        store: IndexStore,
        context: IngestContext,
        on_recorded: Callable[[list[IngestResult]], None],
        on_failure: Callable[[BaseException], None],
        readers: int = 2,
    ) -> None:
        # Now, because a thread may find no file handle to list and import them with.
        file_kinds.fill()
        self._store = store
        self._context = context
        self._on_recorded = on_recorded
        self._on_failure = on_failure
        self._scanned_files: queue.Queue[ScannedFile | None] = queue.Queue(2 * BATCH_IMAGES)
        self._stopping = threading.Event()
        self._reader_liveness = Liveness("reading", busy=self._is_reading)
        self._recorder_liveness = Liveness("recording", busy=lambda: bool(self._scanned_files.unfinished_tasks))
        self.thread_liveness = (self._reader_liveness, self._recorder_liveness)
        self._queues = {
            "images": FileQueue(READ_BATCH_FILES),
            "jobs": FileQueue(1),
        }
        self._readers = [
            QueueWorker(name, partial(self._read_next, files), self._on_thread_failure, self._reader_liveness)
            for files, name in (
                *((self._queues["images"], f"read-{number}") for number in range(readers)),
                (self._queues["jobs"], "read-jobs"),
            )
        ]
        self._recorder = QueueWorker("record", self._record_next, self._on_thread_failure, self._recorder_liveness)

    def start(self) -> None:
        """Start the threads."""
        # The recorder first: without it, readers would wait for ever in a full queue.
        for thread in (self._recorder, *self._readers):
            thread.start()

    def deliver(self, file: SettledFile) -> None:
        """Queue one file; blocks while the queue is full, and drops it once stopping (the next scan finds it again)."""
        pending = self._queues[file.purpose].pending
        while not self._stopping.is_set():
            try:
                pending.put(file, timeout=0.5)
            except queue.Full:
                continue
            return

    def pending_count(self) -> int:
        """How many files are queued or being read."""
        return sum(files.unfinished_count() for files in self._queues.values())

    def drain(self) -> None:
        """Return when everything delivered so far is recorded, or the pipeline stops."""
        for pending in self._all_queues():
            with pending.all_tasks_done:
                pending.all_tasks_done.wait_for(lambda: not pending.unfinished_tasks or self._stopping.is_set())  # noqa: B023

    def stop(self) -> None:
        """Finish the files being read, record them, and end the threads; the next scan finds the files still queued."""
        self._stop_accepting()
        for files in self._queues.values():
            files.clear()
        for _ in self._readers:
            for files in self._queues.values():
                files.pending.put(None)
        for reader in self._readers:
            reader.join()
        self._enqueue_for_recording(None)
        self._recorder.join()

    def _on_thread_failure(self, error: BaseException) -> None:
        self._stop_accepting()
        self._on_failure(error)

    def _stop_accepting(self) -> None:
        self._stopping.set()
        for pending in self._all_queues():
            with pending.all_tasks_done:
                pending.all_tasks_done.notify_all()

    def _all_queues(self) -> list[queue.Queue[Any]]:
        return [*(files.pending for files in self._queues.values()), self._scanned_files]

    def _enqueue_for_recording(self, scanned: ScannedFile | None) -> None:
        """Queue it for the recorder. Once that has ended it is dropped; the next scan finds it again."""
        while not self._recorder.is_stopping:
            try:
                self._scanned_files.put(scanned, timeout=0.5)
            except queue.Full:
                self._reader_liveness.beat()  # it is the recorder that is slow
                continue
            return

    def _is_reading(self) -> bool:
        return bool(self.pending_count())

    def _read_next(self, files: FileQueue) -> bool:
        """Read one batch of a queue; False when it held the end mark."""
        self._retry_one(files)
        batch, is_last = files.take_batch()
        try:
            self._read_and_enqueue(files, batch)
        finally:
            for _ in range(len(batch) + is_last):
                files.pending.task_done()
        return not is_last

    def _retry_one(self, files: FileQueue) -> None:
        """Read one file whose retry is due. Only one, so that the files of a slow share leave new files their turn."""
        if self._stopping.is_set() or (file := files.retries.take_due()) is None:
            return
        with files.retrying():
            self._read_and_enqueue(files, [file])

    def _read_and_enqueue(self, files: FileQueue, batch: Sequence[SettledFile]) -> None:
        if not batch:
            return
        self._reader_liveness.beat()
        for scanned in self._read(files, batch):
            self._reader_liveness.beat()
            self._enqueue_for_recording(scanned)

    def _read(self, files: FileQueue, batch: Sequence[SettledFile]) -> list[ScannedFile]:
        """What was read of these files; files that are gone or that are tried again later are left out."""
        handler = file_kinds.get(HANDLER_OF_PURPOSE[batch[0].purpose])
        if handler is None:
            raise RuntimeError(f"no handler takes files of purpose {batch[0].purpose}")
        try:
            results: Sequence[ScannedFile | Exception | None] = handler(batch, self._context)
        except Exception as error:
            results = [error] * len(batch)
        found = (self._resolve(files, file, result) for file, result in zip(batch, results, strict=True))
        return [scanned for scanned in found if scanned is not None]

    def _resolve(
        self, files: FileQueue, file: SettledFile, result: ScannedFile | Exception | None
    ) -> ScannedFile | None:
        """What is recorded of one file."""
        if isinstance(result, FileNotFoundError):
            log.debug("gone before it was read: %r", file.rel)
            result = None
        elif isinstance(result, IndexdError | OSError):
            if file.purpose == "jobs" or is_transient(result):
                self._schedule_retry(files, file, result)
                return None
            result = self._unreadable_file(file, str(result))
        elif isinstance(result, Exception):
            log.error(
                "bug while reading %r; the file is recorded as unreadable and the others are read",
                file.rel,
                exc_info=result,
            )
            result = self._unreadable_file(file, f"could not be read: {type(result).__name__}: {result}")
        files.retries.reset_backoff(file)
        return result

    def _schedule_retry(self, files: FileQueue, file: SettledFile, error: Exception) -> None:
        # The file was delivered, so no scan delivers it again soon.
        when = "soon" if files.retries.schedule(file) else "at the next scan of its folder"
        log.error("%r cannot be read yet and is tried again %s: %s", file.rel, when, error)

    def _unreadable_file(self, file: SettledFile, text: str) -> ScannedFile | None:
        if file.purpose != "images":
            log.error("%r: %s", file.rel, text)
            return None
        log.warning("skipping %r: %s", file.rel, text)
        return ScannedFile(file.root_id, file.rel, file.stamp, None, text)

    def _record_next(self) -> bool:
        """Record one batch of the queue; False when it held the end mark."""
        first = self._scanned_files.get()
        if first is None:
            return False
        batch, is_last = [first], False
        while len(batch) < BATCH_IMAGES and not is_last:
            try:
                scanned = self._scanned_files.get_nowait()
            except queue.Empty:
                break
            if scanned is None:
                is_last = True
            else:
                batch.append(scanned)
        try:
            self._record_batch(batch)
        finally:
            for _ in range(len(batch) + is_last):
                self._scanned_files.task_done()
        return not is_last

    def _record_batch(self, batch: list[ScannedFile]) -> None:
        while True:
            self._recorder_liveness.beat()
            try:
                recorded = self._store.images.ingest(batch, time.time())
            except (StoreUnavailable, OSError) as error:
                if not is_transient(error):
                    raise
                log.error("%s; trying again in %g s", error, RETRY_SECONDS)
                if self._stopping.wait(RETRY_SECONDS):
                    return
                continue
            except StoreError:
                raise
            except Exception as error:
                self._record_one_by_one(batch, error)
                return
            self._on_recorded(recorded)
            return

    def _record_one_by_one(self, batch: list[ScannedFile], error: Exception) -> None:
        """Nothing about one file may end the recorder: the file that cannot be recorded is recorded as unreadable."""
        if len(batch) > 1:
            for scanned in batch:
                self._record_batch([scanned])
            return
        (scanned,) = batch
        if scanned.facts is None:
            raise error
        log.error("bug while recording %r; the file is recorded as unreadable", scanned.rel, exc_info=error)
        problem = f"could not be recorded: {type(error).__name__}: {error}"
        self._record_batch([replace(scanned, facts=None, problem=problem)])


class FileQueue:
    """The files of one purpose that wait to be read, and those that are tried again later."""

    def __init__(self, batch_files: int) -> None:
        self.pending: queue.Queue[SettledFile | None] = queue.Queue(QUEUED_FILES_MAX)
        self.retries = RetryQueue(RETRY_SECONDS, MAX_RETRY_SECONDS, RETRY_FILES_MAX)
        self._batch_files = batch_files
        self._retrying_threads: set[int] = set()

    def take_batch(self) -> tuple[list[SettledFile], bool]:
        """The files that are there, at most one batch, and whether the end mark followed; none while a retry is due."""
        batch: list[SettledFile] = []
        try:
            file = self.pending.get(timeout=self.retries.seconds_until_due())
            while file is not None:
                batch.append(file)
                if len(batch) == self._batch_files:
                    return batch, False
                file = self.pending.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def clear(self) -> None:
        """Drop the files that wait."""
        while True:
            try:
                self.pending.get_nowait()
            except queue.Empty:
                return
            self.pending.task_done()

    def unfinished_count(self) -> int:
        """How many files are queued or being read."""
        return self.pending.unfinished_tasks + len(self._retrying_threads)

    @contextmanager
    def retrying(self) -> Iterator[None]:
        """While a file is read again, which is in no queue."""
        self._retrying_threads.add(threading.get_ident())
        try:
            yield
        finally:
            self._retrying_threads.discard(threading.get_ident())


class QueueWorker(BackgroundService):
    """A thread that calls `take_next`, which blocks on a queue, until that returns False."""

    def __init__(
        self,
        name: str,
        take_next: Callable[[], bool],
        on_failure: Callable[[BaseException], None],
        liveness: Liveness,
    ) -> None:
        super().__init__(name, on_failure=on_failure, liveness=liveness)
        self._take_next = take_next

    def run_once(self) -> float:
        """Take one element of the queue."""
        if not self._take_next():
            self.request_stop()
        return 0.0


FileKey = tuple[int, bytes]


class RetryQueue:
    """Files whose read failed, each with its own Backoff, so that one that never works delays no other.

    Every method may be called from any thread. `clock` never goes back.
    """

    def __init__(
        self,
        first_seconds: float,
        max_seconds: float,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """At most `limit` files are kept; job files are kept always."""
        self._make_backoff = partial(Backoff, first_seconds, max_seconds, clock=clock)
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._backoffs: dict[FileKey, Backoff] = {}
        self._pending: dict[FileKey, tuple[float, SettledFile]] = {}
        self._due: list[tuple[float, FileKey]] = []

    def schedule(self, file: SettledFile) -> bool:
        """Count a failed read; returns whether the file is kept for a retry."""
        key = (file.root_id, file.rel)
        with self._lock:
            if file.purpose != "jobs" and key not in self._pending and len(self._pending) >= self._limit:
                self._backoffs.pop(key, None)
                return False
            due = self._clock() + self._backoffs.setdefault(key, self._make_backoff()).fail()
            self._pending[key] = (due, file)
            heapq.heappush(self._due, (due, key))
            return True

    def reset_backoff(self, file: SettledFile) -> None:
        """Forget the failures of a file that was read or is gone."""
        with self._lock:
            self._backoffs.pop((file.root_id, file.rel), None)

    def take_due(self) -> SettledFile | None:
        """Remove and return one file whose retry is due."""
        with self._lock:
            due = self._next_due()
            if due is None or due > self._clock():
                return None
            _, key = heapq.heappop(self._due)
            return self._pending.pop(key)[1]

    def seconds_until_due(self) -> float | None:
        """Seconds until `take_due` returns a file; None when none is pending."""
        with self._lock:
            due = self._next_due()
            return None if due is None else max(0.0, due - self._clock())

    def _next_due(self) -> float | None:
        while self._due:
            due, key = self._due[0]
            if key in self._pending and self._pending[key][0] == due:
                return due
            heapq.heappop(self._due)
        return None
