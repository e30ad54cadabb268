"""Images read for the daemon, in processes that may die: it maps no image parser and no JSON of strangers."""

from __future__ import annotations

import errno
import logging
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from indexd.errors import CallCancelled, CallTimedOut, NotAnImage, NotRegularFile, WorkerDied
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.worker.calls import (
    READ_LANES,
    READ_ON_DEMAND_LANE,
    ImagesRead,
    ParseTexts,
    Priority,
    ReadFailure,
    ReadImages,
    StoredTexts,
    TextsParsed,
)

log = logging.getLogger(__name__)

SILENCE_SECONDS = 120.0
READ_BYTES_PER_SECOND_MIN = 1 << 20
"""A share that is slower than this is taken for one that hangs."""
DEFAULT_MAX_BYTES = 2 << 30

ReadResult = ImageFacts | ReadFailure


class Submits(Protocol):
    """Takes calls: indexd.worker.call_handle.WorkerBackend."""

    def submit(self, call: Any, *, priority: Priority = ..., timeout_seconds: float | None = ...) -> Any: ...


class ReaderClient:
    """Reads files in reader processes. Any thread may call it; `read_batch` keeps one process busy for each caller."""

    def __init__(self, workers: Submits, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._workers = workers
        self._max_bytes = max_bytes
        self._free_lanes: queue.PriorityQueue[str] = queue.PriorityQueue()
        for lane in READ_LANES:
            self._free_lanes.put(lane)

    @property
    def workers(self) -> Submits:
        """What the calls are given to."""
        return self._workers

    def start_processes(self) -> None:
        """Start the first reader process and load its modules, so that the first image does not wait for it."""
        self._workers.submit(ReadImages((), READ_LANES[0]), priority=Priority.BACKGROUND)

    def read_batch(self, paths: Sequence[bytes]) -> list[ReadResult]:
        """The result of each file, in order. Waits while all lanes are busy.

        A batch whose process dies is read again file by file, so that only the file that is to blame is refused.
        """
        with self._lane() as lane:
            results = self._read(tuple(paths), lane)
            if results is None and len(paths) > 1:
                return [self._read_alone(path, lane) for path in paths]
            return results if results is not None else [_died() for _ in paths]

    def read_file(self, path: bytes, *, with_sidecars: bool = True) -> ImageFacts:
        """One image, not behind new ones. Raises NotAnImage, NotRegularFile, FileNotFoundError or another OSError."""
        results = self._read((path,), READ_ON_DEMAND_LANE, with_sidecars=with_sidecars)
        result = results[0] if results else _died()
        if isinstance(result, ImageFacts):
            return result
        raise as_error(result)

    def parse_texts(self, images: Sequence[StoredTexts]) -> list[ImageMetadata]:
        """The metadata of stored texts, without `raw`. Raises WorkerDied, CallCancelled or OSError."""
        call = ParseTexts(tuple(images))
        handle = self._workers.submit(call, priority=Priority.BACKGROUND, timeout_seconds=SILENCE_SECONDS)
        parsed: TextsParsed = handle.result()
        return list(parsed.metadata)

    @contextmanager
    def _lane(self) -> Iterator[str]:
        lane = self._free_lanes.get()
        try:
            yield lane
        finally:
            self._free_lanes.put(lane)

    def _read_alone(self, path: bytes, lane: str) -> ReadResult:
        results = self._read((path,), lane)
        return results[0] if results else _died()

    def _read(self, paths: tuple[bytes, ...], lane: str, *, with_sidecars: bool = True) -> list[ReadResult] | None:
        """The results; None when the process died with this call in hand."""
        call = ReadImages(paths, lane, self._max_bytes, with_sidecars)
        seconds = SILENCE_SECONDS + max(map(_size, paths), default=0) / READ_BYTES_PER_SECOND_MIN
        try:
            read: ImagesRead = self._workers.submit(call, priority=Priority.JOB, timeout_seconds=seconds).result()
        except (WorkerDied, CallTimedOut):
            return None
        except CallCancelled as error:
            return [ReadFailure("system", str(error), errno.EAGAIN) for _ in paths]
        except OSError as error:
            return [ReadFailure("system", error.strerror or str(error), error.errno or errno.EIO) for _ in paths]
        except Exception:  # a wrong result, or a bug of the reader: it costs one file, like a process that dies
            log.exception("the reader of %d files failed", len(paths))
            return None if len(paths) > 1 else [ReadFailure("unreadable", "its reader failed; the log has the cause")]
        return list(read.results)


def as_error(failure: ReadFailure) -> NotAnImage | NotRegularFile | OSError:
    """The error that stands for a failure."""
    if failure.kind == "not regular":
        return NotRegularFile(failure.reason)
    if failure.kind == "missing":
        return FileNotFoundError(errno.ENOENT, failure.reason)
    return OSError(failure.errno, failure.reason) if failure.kind == "system" else NotAnImage(failure.reason)


def _died() -> ReadFailure:
    return ReadFailure("unreadable", "its content ended the process that read it")


def _size(path: bytes) -> int:
    try:
        return min(os.stat(path).st_size, DEFAULT_MAX_BYTES)
    except OSError:
        return 0


_process_reader: ReaderClient | None = None


def use_reader_processes(reader: ReaderClient) -> Callable[[], None]:
    """From now on `read_image_file` and `parse_stored_texts` of this process use these; returns what ends that."""
    global _process_reader
    previous, _process_reader = _process_reader, reader

    def restore() -> None:
        global _process_reader
        _process_reader = previous

    return restore


def reader_workers() -> Submits | None:
    """What gives calls to the reader processes of this process (the daemon); None where it has none."""
    return None if _process_reader is None else _process_reader.workers


def read_image_file(path: bytes, *, with_sidecars: bool = True) -> ImageFacts:
    """Read one image: in a reader process where this process has one (the daemon), else here.

    Raises NotAnImage, NotRegularFile, FileNotFoundError or another OSError.
    """
    if _process_reader is not None:
        return _process_reader.read_file(path, with_sidecars=with_sidecars)
    [result] = _read_here((path,), with_sidecars=with_sidecars)
    if isinstance(result, ImageFacts):
        return result
    raise as_error(result)


def parse_stored_texts(images: Sequence[StoredTexts]) -> list[ImageMetadata]:
    """The metadata of stored texts, without `raw`: parsed in a reader process where this process has one, else here.

    Raises WorkerDied, CallCancelled or OSError where the reader process cannot be had.
    """
    if _process_reader is not None:
        return _process_reader.parse_texts(images)
    from indexd.images.read_images import parse_texts

    return list(parse_texts(ParseTexts(tuple(images))).metadata)


def read_in_this_process(paths: Sequence[bytes]) -> list[ReadResult]:
    """Read files without a reader process: for commands and tools that have no daemon, and that may die."""
    return _read_here(tuple(paths))


def _read_here(paths: tuple[bytes, ...], *, with_sidecars: bool = True) -> list[ReadResult]:
    # Imported here: the daemon must not load the parsers.
    from indexd.images.read_images import read_images

    return list(read_images(ReadImages(paths, with_sidecars=with_sidecars)).results)
