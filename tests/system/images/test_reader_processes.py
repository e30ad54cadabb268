"""Reading in processes that may die: a file costs itself, never its neighbours and never the daemon."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.errors import CallCancelled, NotAnImage, WorkerDied
from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.container_reader import read_container
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.model import ImageFacts, RawChunk
from indexd.images import read_images, read_limits
from indexd.images.reader_client import ReaderClient
from indexd.worker.call_handle import CallHandle
from indexd.worker.calls import ImagesRead, ReadFailure, ReadImages, StoredTexts, WorkerSettings
from indexd.worker.fake_workers import FakeWorkers
from indexd.worker.local_workers import LocalWorkers
from indexd.worker.protocol import WorkerBug
from tests.unit.image_metadata.writers import png, text

INFOTEXT = "a duck\nSteps: 20, Sampler: Euler, Seed: 5"


@pytest.fixture
def images(tmp_path: Path) -> list[bytes]:
    paths = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        path.write_bytes(png(text("parameters", INFOTEXT)))
        paths.append(os.fsencode(path))
    return paths


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[LocalWorkers]:
    workers = LocalWorkers(WorkerSettings({}, str(tmp_path / "cache")))
    yield workers
    workers.stop(0.0)


def test_a_process_reads_what_can_be_read_and_names_the_rest(processes: LocalWorkers, images: list[bytes]) -> None:
    folder = os.path.dirname(images[0])
    bad = os.path.join(folder, b"bad.png")
    Path(os.fsdecode(bad)).write_bytes(b"<html>")
    gone = os.path.join(folder, b"gone.png")
    read = ReaderClient(processes).read_batch([images[0], bad, gone, images[1]])
    assert [type(one) for one in read] == [ImageFacts, ReadFailure, ReadFailure, ImageFacts]
    assert isinstance(read[0], ImageFacts)
    assert read[0].metadata.prompt == "a duck"
    assert [one.kind for one in read if isinstance(one, ReadFailure)] == ["unreadable", "missing"]


def test_the_neighbours_of_a_file_that_ends_its_process_are_read(images: list[bytes]) -> None:
    workers = FakeWorkers()

    def holds_the_second(call: object) -> bool:
        return isinstance(call, ReadImages) and images[1] in call.paths

    for _ in range(2):
        workers.fail_next(WorkerDied("the process ended"), when=holds_the_second)
    read = ReaderClient(workers).read_batch(images)
    assert [isinstance(one, ImageFacts) for one in read] == [True, False, True]
    assert read[1] == ReadFailure("unreadable", "its content ended the process that read it")


def test_a_file_that_no_process_could_take_is_tried_again_later(images: list[bytes]) -> None:
    workers = FakeWorkers()
    for error in (CallCancelled("stopping"), OSError(errno.EMFILE, "no handles")):
        workers.fail_next(error)
        assert {one.kind for one in ReaderClient(workers).read_batch(images) if isinstance(one, ReadFailure)} == {
            "system"
        }


def test_reading_for_jobs_and_commands_raises_what_happened(images: list[bytes], tmp_path: Path) -> None:
    reader = ReaderClient(FakeWorkers())
    assert reader.read_file(images[0]).metadata.seed == "5"
    with pytest.raises(FileNotFoundError):
        reader.read_file(os.fsencode(tmp_path / "gone.png"))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(NotAnImage, match="none of PNG"):
        reader.read_file(os.fsencode(tmp_path / "bad.png"))


def test_stored_texts_are_parsed_without_the_file() -> None:
    stored = StoredTexts((RawChunk("png:parameters", "utf-8", INFOTEXT),), ("the EXIF block is damaged",))
    [metadata] = ReaderClient(FakeWorkers()).parse_texts([stored])
    assert (metadata.prompt, metadata.raw, metadata.problem) == ("a duck", (), "the EXIF block is damaged")


def test_a_large_file_and_a_sparse_one_are_refused_before_they_are_read(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("the test makes a sparse file by POSIX means")
    large = tmp_path / "large.png"
    large.write_bytes(png())
    os.truncate(large, 3 << 20)
    call = ReadImages((os.fsencode(large),), max_bytes=2 << 20)
    [failure] = read_images.read_images(call).results
    assert isinstance(failure, ReadFailure)
    assert failure.reason == "is 3 MiB large; [watch] max_image_mib allows 2 MiB"
    os.truncate(large, 1 << 40)
    if large.stat().st_blocks * 512 > 1 << 30:
        pytest.skip("this file system stores holes")
    [failure] = read_images.read_images(ReadImages((os.fsencode(large),), max_bytes=2 << 40)).results
    assert isinstance(failure, ReadFailure)
    assert "is sparse" in failure.reason


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread")
def test_a_file_that_takes_too_much_processor_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_limits, "CPU_SECONDS", 0.05)

    def spin() -> None:
        while True:
            pass

    with pytest.raises(read_limits.ReadLimitReached, match="s of processor time"):
        read_limits.within_limits(0, spin)


LIMITED = """
from indexd.images import read_limits
read_limits.limit_memory(64 << 20)
try:
    read_limits.within_limits(0, lambda: bytearray(1 << 30))
except read_limits.ReadLimitReached as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is set on Linux only")
def test_a_file_that_takes_too_much_memory_is_refused() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "reading it takes more than 1024 MiB of memory"


class _BuggyReader:
    """Answers every call that contains this path with a wrong result, as `LocalWorkers` reports it."""

    def submit(self, call: ReadImages, **_options: object) -> CallHandle:
        handle = CallHandle(call)
        if b"/bad" in call.paths:
            handle.fail(WorkerBug("a wrong result"))
        else:
            handle.finish(ImagesRead(tuple(ReadFailure("missing", "it is gone") for _ in call.paths)))
        return handle


def test_a_wrong_result_costs_one_file() -> None:
    results = ReaderClient(_BuggyReader()).read_batch([b"/a", b"/bad", b"/b"])
    reasons = [one.reason for one in results if isinstance(one, ReadFailure)]
    assert reasons == ["it is gone", "its reader failed; the log has the cause", "it is gone"]


def test_a_side_that_no_image_has_is_refused() -> None:
    header = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2)
    entries = b"".join(struct.pack("<HHQQ", tag, 16, 1, 1 << 40) for tag in (256, 257))
    with pytest.raises(UnreadableImage, match="a size that no image has"):
        read_container(ByteSource.from_bytes(header + entries + bytes(8)))
