"""Settled files in, recorded sightings out: a few reader threads, one recorder that commits in batches.

Reading is I/O and hashing (both release the interpreter), so threads serve; decoding pixels is not done here but in
the decode worker. The queues are bounded: a scan of a million files waits for the index instead of filling memory.
"""

from __future__ import annotations

import heapq
import logging
import queue
import threading
import time
from collections.abc import Callable

from indexd.errors import IndexdError, StoreUnavailable, is_transient
from indexd.fs.file_stamp import SettledFile
from indexd.liveness import Liveness
from indexd.registry import IngestContext, file_kinds
from indexd.store.records import IngestResult, ScannedFile
from indexd.store.sqlite.store import Store

log = logging.getLogger(__name__)

QUEUED_FILES_MAX = 2000
BATCH_IMAGES = 256
RETRY_SECONDS = 10.0
MAX_RETRY_SECONDS = 600.0
RETRY_FILES_MAX = 10_000
"""So many files that could not be read are brought again from here; what is beyond, the next comparison finds."""
HANDLER_OF_PURPOSE = {"images": "image", "jobs": "job"}


class IngestPipeline:
    """Reads and records what the watchers deliver. `on_recorded` hears each committed batch."""

    def __init__(
        self,
        store: Store,
        context: IngestContext,
        on_recorded: Callable[[list[IngestResult]], None],
        on_failure: Callable[[BaseException], None],
        readers: int = 2,
    ) -> None:
        self._store = store
        self._context = context
        self._on_recorded = on_recorded
        self._on_failure = on_failure
        self._files: queue.Queue[SettledFile | None] = queue.Queue(QUEUED_FILES_MAX)
        self._scanned_files: queue.Queue[ScannedFile | None] = queue.Queue(2 * BATCH_IMAGES)
        self._stopping = threading.Event()
        self._has_failed = threading.Event()
        self._retries = RetryQueue(RETRY_SECONDS, MAX_RETRY_SECONDS, RETRY_FILES_MAX)
        self._retrying_threads: set[int] = set()
        self._readers = [
            threading.Thread(target=self._run_guarded, args=(self._run_reader,), name=f"read-{i}")
            for i in range(readers)
        ]
        self._recorder = threading.Thread(target=self._run_guarded, args=(self._run_recorder,), name="record")
        self._reader_liveness = Liveness("reading", busy=self._is_reading)
        self._recorder_liveness = Liveness("recording", busy=lambda: bool(self._scanned_files.unfinished_tasks))
        self.thread_liveness = (self._reader_liveness, self._recorder_liveness)

    def start(self) -> None:
        """Start the threads."""
        for thread in (*self._readers, self._recorder):
            thread.start()

    def deliver(self, file: SettledFile) -> None:
        """Take one file; blocks while the queue is full, and drops it once stopping (the next scan finds it again)."""
        while not self._stopping.is_set():
            try:
                self._files.put(file, timeout=0.5)
            except queue.Full:
                continue
            return

    def pending_count(self) -> int:
        """How many files are being read or wait for it."""
        return self._files.unfinished_tasks + len(self._retrying_threads)

    def drain(self) -> None:
        """Wait until everything delivered so far is recorded, or the intake stops."""
        for waiting in (self._files, self._scanned_files):
            with waiting.all_tasks_done:
                waiting.all_tasks_done.wait_for(lambda: not waiting.unfinished_tasks or self._stopping.is_set())  # noqa: B023

    def stop(self) -> None:
        """Finish what is being read, record it, and end the threads; files still queued are left to the next scan."""
        self._stop_accepting()
        while True:
            try:
                self._files.get_nowait()
            except queue.Empty:
                break
            self._files.task_done()
        for _ in self._readers:
            self._files.put(None)
        for thread in self._readers:
            thread.join()
        self._enqueue_for_recording(None)
        self._recorder.join()

    def _run_guarded(self, body: Callable[[], None]) -> None:
        # A side task that dies takes the daemon down loudly: a silent one would look like "nothing new".
        try:
            body()
        except BaseException as error:
            self._has_failed.set()
            self._stop_accepting()
            self._on_failure(error)
            raise

    def _stop_accepting(self) -> None:
        self._stopping.set()
        for waiting in (self._files, self._scanned_files):
            with waiting.all_tasks_done:
                waiting.all_tasks_done.notify_all()

    def _enqueue_for_recording(self, sighting: ScannedFile | None) -> None:
        """Give it to the recorder, unless a thread died: then nobody may be there to take it, and the next scan will."""
        while not self._has_failed.is_set():
            try:
                self._scanned_files.put(sighting, timeout=0.5)
            except queue.Full:
                self._reader_liveness.beat()  # it is the recorder that is slow
                continue
            return

    def _is_reading(self) -> bool:
        return bool(self.pending_count())

    def _run_reader(self) -> None:
        while True:
            self._retry_one()
            try:
                file = self._files.get(timeout=self._retries.seconds_until_due())
            except queue.Empty:
                continue
            if file is None:
                return
            try:
                self._read_and_enqueue(file)
            finally:
                self._files.task_done()

    def _retry_one(self) -> None:
        """One that could not be read before, where its time has come; those of a slow share leave new files their turn."""
        if self._stopping.is_set() or (file := self._retries.take_due()) is None:
            return
        self._retrying_threads.add(threading.get_ident())
        try:
            self._read_and_enqueue(file)
        finally:
            self._retrying_threads.discard(threading.get_ident())

    def _read_and_enqueue(self, file: SettledFile) -> None:
        self._reader_liveness.beat()
        sighting = self._read(file)
        if sighting is not None:
            self._enqueue_for_recording(sighting)

    def _read(self, file: SettledFile) -> ScannedFile | None:
        handler = file_kinds.get(HANDLER_OF_PURPOSE[file.purpose])
        if handler is None:
            raise RuntimeError(f"no handler takes files of purpose {file.purpose}")
        try:
            sighting: ScannedFile | None = handler(file, self._context)
        except FileNotFoundError:
            log.debug("gone before it was read: %r", file.rel)
            sighting = None
        except (IndexdError, OSError) as error:
            if file.purpose == "jobs" or is_transient(error):
                self._schedule_retry(file, error)
                return None
            sighting = self._unreadable_file(file, str(error))
        except Exception as error:
            log.exception("bug while reading %r; the file is set aside and the rest goes on", file.rel)
            sighting = self._unreadable_file(file, f"could not be read: {type(error).__name__}: {error}")
        self._retries.reset_backoff(file)
        return sighting

    def _schedule_retry(self, file: SettledFile, error: Exception) -> None:
        """A job file that could not be taken (the disk is full, its folder cannot be written) lies there and waits.

        So does a picture whose disk fails. It was delivered, so no scan brings it again soon.
        """
        when = "soon" if self._retries.schedule(file) else "when its folder is compared"
        log.error("%r cannot be taken yet and is tried again %s: %s", file.rel, when, error)

    def _unreadable_file(self, file: SettledFile, text: str) -> ScannedFile | None:
        if file.purpose != "images":
            log.error("%r: %s", file.rel, text)
            return None
        log.warning("skipping %r: %s", file.rel, text)
        return ScannedFile(file.root_id, file.rel, file.stamp, None, text)

    def _run_recorder(self) -> None:
        while (first := self._scanned_files.get()) is not None:
            batch = [first]
            stop = False
            while len(batch) < BATCH_IMAGES:
                try:
                    more = self._scanned_files.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    stop = True
                    break
                batch.append(more)
            try:
                self._record_batch(batch)
            finally:
                for _ in range(len(batch) + stop):
                    self._scanned_files.task_done()
            if stop:
                return

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
            self._on_recorded(recorded)
            return


# Files that could not be read at their first try, each with the time of its next one: ever more seldom.

FileKey = tuple[int, bytes]


class RetryQueue:
    """What waits for its next try, by place. Every method may be called from any thread.

    The pause after a try begins at `first_seconds`, and is doubled with each that fails, up to `longest_seconds`; it is each
    file's own, so that one which never works keeps no other waiting. `clock` never goes back.
    """

    def __init__(
        self,
        first_seconds: float,
        max_seconds: float,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Of other files than jobs, at most `limit` are kept."""
        self._first_seconds = first_seconds
        self._max_seconds = max_seconds
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._tries: dict[FileKey, int] = {}
        self._pending: dict[FileKey, tuple[float, SettledFile]] = {}
        self._due: list[tuple[float, FileKey]] = []

    def schedule(self, file: SettledFile) -> bool:
        """It could not be read. Whether it is kept and comes back."""
        key = (file.root_id, file.rel)
        with self._lock:
            if file.purpose != "jobs" and key not in self._pending and len(self._pending) >= self._limit:
                self._tries.pop(key, None)
                return False
            tries = self._tries.get(key, 0)
            self._tries[key] = tries + 1
            # A number of tries that no pause needs would be too large for a float one day.
            due = self._clock() + min(self._max_seconds, self._first_seconds * 2 ** min(tries, 30))
            self._pending[key] = (due, file)
            heapq.heappush(self._due, (due, key))
            return True

    def reset_backoff(self, file: SettledFile) -> None:
        """It was read, or there is nothing to read: should it fail once more, it begins anew."""
        with self._lock:
            self._tries.pop((file.root_id, file.rel), None)

    def take_due(self) -> SettledFile | None:
        """One whose time has come; it waits no longer."""
        with self._lock:
            due = self._next_due()
            if due is None or due > self._clock():
                return None
            _, key = heapq.heappop(self._due)
            return self._pending.pop(key)[1]

    def seconds_until_due(self) -> float | None:
        """Until `take` would give one; None = nothing waits."""
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
