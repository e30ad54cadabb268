"""Headers of model files are read in reader processes: what is in one costs that file its use, and no more."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.errors import CallCancelled, WorkerDied
from indexd.images.reader_client import ReaderClient, use_reader_processes
from indexd.model_inspection import inspector
from indexd.model_inspection.description_cache import CACHE_NAME
from indexd.model_inspection.inspector import describe_model_file, describe_model_files
from indexd.worker.calls import DescribeModels, WorkerSettings
from indexd.worker.fake_workers import FakeWorkers
from indexd.worker.local_workers import LocalWorkers
from tests.support.model_files import SDXL_LORA, write_model


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[LocalWorkers]:
    workers = LocalWorkers(WorkerSettings({}, str(tmp_path / "cache")))
    restore = use_reader_processes(ReaderClient(workers))
    yield workers
    restore()
    workers.stop(0.0)


@pytest.fixture
def fake() -> Iterator[FakeWorkers]:
    workers = FakeWorkers()
    restore = use_reader_processes(ReaderClient(workers))
    yield workers
    restore()


def _bomb(path: Path) -> Path:
    """A header within the limit of its length, whose nested lists would take more than a gigabyte."""
    text = b'{"a": [' + b"[[]]," * ((15 << 20) // 5) + b"[]]}"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return path


def test_a_header_that_takes_too_much_memory_costs_its_file_only(processes: LocalWorkers, tmp_path: Path) -> None:
    paths = [write_model(tmp_path / "a.safetensors", SDXL_LORA), _bomb(tmp_path / "bomb.safetensors")]
    paths.append(write_model(tmp_path / "b.safetensors", SDXL_LORA))
    found = describe_model_files(paths)
    assert [(one.family, bool(one.problem)) for one in found] == [("sdxl", False), ("", True), ("sdxl", False)]
    assert all(lane.deaths == 0 for lane in processes.status())


def test_a_file_that_ends_the_process_is_named_and_its_neighbour_described(fake: FakeWorkers, tmp_path: Path) -> None:
    paths = [write_model(tmp_path / f"{name}.safetensors", SDXL_LORA) for name in "ab"]

    def holds_the_first(call: object) -> bool:
        return isinstance(call, DescribeModels) and any(path.endswith(b"a.safetensors") for path in call.paths)

    for _ in range(2):
        fake.fail_next(WorkerDied("the process ended"), when=holds_the_first)
    bad, good = describe_model_files(paths)
    assert bad.problem == "cannot be used: its content ended the process that read it; download it again"
    assert (good.family, good.problem) == ("sdxl", "")


def test_a_file_is_described_once_for_each_version(fake: FakeWorkers, tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.safetensors", SDXL_LORA)
    for _ in range(3):
        describe_model_file(path)
    assert fake.call_counts[DescribeModels] == 1
    path.write_bytes(b"<html>")
    assert describe_model_file(path).problem.startswith("is a web page")


def test_a_machine_that_is_at_fault_is_not_the_files(fake: FakeWorkers, tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.safetensors", SDXL_LORA)
    fake.fail_next(CallCancelled("stopping"))
    with pytest.raises(OSError, match="stopping") as raised:
        describe_model_file(path)
    assert raised.value.errno == errno.EAGAIN
    assert describe_model_file(path).family == "sdxl"


def test_the_next_process_reads_no_header_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_model(tmp_path / f"{name}.safetensors", SDXL_LORA) for name in "ab"]
    first = describe_model_files(paths, tmp_path / "cache")

    def as_a_new_process() -> FakeWorkers:
        monkeypatch.setattr(inspector, "_cache", OrderedDict())
        return FakeWorkers()

    workers = as_a_new_process()
    restore = use_reader_processes(ReaderClient(workers))
    try:
        assert describe_model_files(paths, tmp_path / "cache") == first
        assert workers.call_counts[DescribeModels] == 0
        paths[0].write_bytes(b"<html>")
        assert [bool(one.problem) for one in describe_model_files(paths, tmp_path / "cache")] == [True, False]
        assert workers.call_counts[DescribeModels] == 1
        (tmp_path / "cache" / CACHE_NAME).write_text('{"version": 1, "files": [[1]]}', "utf-8")
        as_a_new_process()
        assert describe_model_files(paths[1:], tmp_path / "cache") == first[1:]
    finally:
        restore()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_whose_permission_came_is_read(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.safetensors", SDXL_LORA)
    path.chmod(0)
    assert describe_model_file(path).problem == "cannot be read: Permission denied"
    path.chmod(0o600)
    assert describe_model_file(path).family == "sdxl"


def test_a_file_that_could_not_be_described_is_described_again(fake: FakeWorkers, tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.safetensors", SDXL_LORA)
    fake.fail_next(WorkerDied("the process ended"))
    assert describe_model_file(path).problem.startswith("cannot be used")
    assert describe_model_file(path).family == "sdxl"
