"""Settled files in, recorded sightings out: a few reader threads, one recorder that commits in batches.

Reading is I/O and hashing (both release the interpreter), so threads serve; decoding pixels is not done here but in
the decode worker. The queues are bounded: a scan of a million files waits for the index instead of filling memory.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from indexd.errors import IndexdError, StoreUnavailable, may_pass
from indexd.later import Later
from indexd.pulse import Pulse
from indexd.registry import IntakeContext, file_kinds
from indexd.store.index import Store
from indexd.store.records import Recorded, Sighting
from indexd.watch.stamp import SettledFile

log = logging.getLogger(__name__)

WAITING_FILES = 2000
BATCH_PICTURES = 256
RETRY_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 600.0
LATER_FILES = 10_000
"""So many files that could not be read are brought again from here; what is beyond, the next comparison finds."""
HANDLER_OF_PURPOSE = {"images": "image", "jobs": "job"}


class Intake:
    """Reads and records what the watchers deliver. `on_recorded` hears each committed batch."""

    def __init__(
        self,
        store: Store,
        context: IntakeContext,
        on_recorded: Callable[[list[Recorded]], None],
        on_failure: Callable[[BaseException], None],
        readers: int = 2,
    ) -> None:
        self._store = store
        self._context = context
        self._on_recorded = on_recorded
        self._on_failure = on_failure
        self._files: queue.Queue[SettledFile | None] = queue.Queue(WAITING_FILES)
        self._sightings: queue.Queue[Sighting | None] = queue.Queue(2 * BATCH_PICTURES)
        self._stopping = threading.Event()
        self._broken = threading.Event()
        self._later = Later(RETRY_SECONDS, LONGEST_RETRY_SECONDS, LATER_FILES)
        self._reading_again: set[int] = set()
        self._readers = [
            threading.Thread(target=self._guarded, args=(self._read_all,), name=f"read-{i}") for i in range(readers)
        ]
        self._recorder = threading.Thread(target=self._guarded, args=(self._record_all,), name="record")
        self._reading = Pulse("reading", busy=self._is_reading)
        self._recording = Pulse("recording", busy=lambda: bool(self._sightings.unfinished_tasks))
        self.pulses = (self._reading, self._recording)

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

    def waiting(self) -> int:
        """How many files are being read or wait for it."""
        return self._files.unfinished_tasks + len(self._reading_again)

    def drain(self) -> None:
        """Wait until everything delivered so far is recorded, or the intake stops."""
        for waiting in (self._files, self._sightings):
            with waiting.all_tasks_done:
                waiting.all_tasks_done.wait_for(lambda: not waiting.unfinished_tasks or self._stopping.is_set())  # noqa: B023

    def stop(self) -> None:
        """Finish what is being read, record it, and end the threads; files still queued are left to the next scan."""
        self._take_no_more()
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
        self._pass_on(None)
        self._recorder.join()

    def _guarded(self, body: Callable[[], None]) -> None:
        # A side task that dies takes the daemon down loudly: a silent one would look like "nothing new".
        try:
            body()
        except BaseException as error:
            self._broken.set()
            self._take_no_more()
            self._on_failure(error)
            raise

    def _take_no_more(self) -> None:
        self._stopping.set()
        for waiting in (self._files, self._sightings):
            with waiting.all_tasks_done:
                waiting.all_tasks_done.notify_all()

    def _pass_on(self, sighting: Sighting | None) -> None:
        """Give it to the recorder, unless a thread died: then nobody may be there to take it, and the next scan will."""
        while not self._broken.is_set():
            try:
                self._sightings.put(sighting, timeout=0.5)
            except queue.Full:
                self._reading.beat()  # it is the recorder that is slow
                continue
            return

    def _is_reading(self) -> bool:
        return bool(self.waiting())

    def _read_all(self) -> None:
        while True:
            self._read_again()
            try:
                file = self._files.get(timeout=self._later.seconds_left())
            except queue.Empty:
                continue
            if file is None:
                return
            try:
                self._take(file)
            finally:
                self._files.task_done()

    def _read_again(self) -> None:
        """One that could not be read before, where its time has come; those of a slow share leave new files their turn."""
        if self._stopping.is_set() or (file := self._later.take()) is None:
            return
        self._reading_again.add(threading.get_ident())
        try:
            self._take(file)
        finally:
            self._reading_again.discard(threading.get_ident())

    def _take(self, file: SettledFile) -> None:
        self._reading.beat()
        sighting = self._read(file)
        if sighting is not None:
            self._pass_on(sighting)

    def _read(self, file: SettledFile) -> Sighting | None:
        handler = file_kinds.get(HANDLER_OF_PURPOSE[file.purpose])
        if handler is None:
            raise RuntimeError(f"no handler takes files of purpose {file.purpose}")
        try:
            sighting: Sighting | None = handler(file, self._context)
        except FileNotFoundError:
            log.debug("gone before it was read: %r", file.rel)
            sighting = None
        except (IndexdError, OSError) as error:
            if file.purpose == "jobs" or may_pass(error):
                self._try_later(file, error)
                return None
            sighting = self._problem(file, str(error))
        except Exception as error:
            log.exception("bug while reading %r; the file is set aside and the rest goes on", file.rel)
            sighting = self._problem(file, f"could not be read: {type(error).__name__}: {error}")
        self._later.done(file)
        return sighting

    def _try_later(self, file: SettledFile, error: Exception) -> None:
        """A job file that could not be taken (the disk is full, its folder cannot be written) lies there and waits.

        So does a picture whose disk fails. It was delivered, so no scan brings it again soon.
        """
        when = "soon" if self._later.put(file) else "when its folder is compared"
        log.error("%r cannot be taken yet and is tried again %s: %s", file.rel, when, error)

    def _problem(self, file: SettledFile, text: str) -> Sighting | None:
        if file.purpose != "images":
            log.error("%r: %s", file.rel, text)
            return None
        log.warning("skipping %r: %s", file.rel, text)
        return Sighting(file.root_id, file.rel, file.stamp, None, text)

    def _record_all(self) -> None:
        while (first := self._sightings.get()) is not None:
            batch = [first]
            stop = False
            while len(batch) < BATCH_PICTURES:
                try:
                    more = self._sightings.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    stop = True
                    break
                batch.append(more)
            try:
                self._record(batch)
            finally:
                for _ in range(len(batch) + stop):
                    self._sightings.task_done()
            if stop:
                return

    def _record(self, batch: list[Sighting]) -> None:
        while True:
            self._recording.beat()
            try:
                recorded = self._store.images.record(batch, time.time())
            except (StoreUnavailable, OSError) as error:
                if not may_pass(error):
                    raise
                log.error("%s; trying again in %g s", error, RETRY_SECONDS)
                if self._stopping.wait(RETRY_SECONDS):
                    return
                continue
            self._on_recorded(recorded)
            return
