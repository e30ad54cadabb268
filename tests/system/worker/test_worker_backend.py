"""The contract of a WorkerBackend: what the processes of this machine and the fake both do."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from indexd.errors import CallCancelled, ModelUnavailable
from indexd.worker.call_handle import WorkerBackend
from indexd.worker.calls import CallProgress, EmbedText, FileRef, MakeThumbnails, ModelSpec, SelfTest, WorkerSettings
from indexd.worker.fake_workers import FakeWorkers
from indexd.worker.local_workers import LocalWorkers

WAIT_SECONDS = 60.0
ROLE = "bge"


def local_workers(folder: Path) -> WorkerBackend:
    return LocalWorkers(WorkerSettings({ROLE: ModelSpec(ROLE, str(folder / "absent"))}, str(folder), threads=1))


def fake_workers(_folder: Path) -> WorkerBackend:
    return FakeWorkers(disabled_roles={ROLE: "there is nothing at absent"})


@pytest.fixture(params=[local_workers, fake_workers])
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WorkerBackend]:
    make: Callable[[Path], WorkerBackend] = request.param
    backend = make(tmp_path)
    yield backend
    backend.stop(0.0)


def test_a_call_has_its_result_and_reports_progress(workers: WorkerBackend, tmp_path: Path) -> None:
    reports: list[CallProgress] = []
    handle = workers.submit(SelfTest("steps", steps=2, payload="done"), on_progress=reports.append)
    assert handle.result(WAIT_SECONDS) == "done"
    assert handle.done()
    assert reports
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    jobs = ((bytes(tmp_path / "a.png"), b"\1" * 32), (bytes(tmp_path / "absent.png"), b"\2" * 32))
    result = workers.submit(MakeThumbnails(jobs, str(tmp_path), 64)).result(WAIT_SECONDS)
    assert set(result.problems) == {1}
    assert set(result.perceptual_hashes) == {0}


def test_files_and_bytes_cross_unchanged(workers: WorkerBackend) -> None:
    payload = {"file": FileRef(b"/images/caf\xe9.png", "ab" * 32), "bytes": bytes(range(256))}
    assert pickle.loads(pickle.dumps(payload)) == payload
    assert workers.submit(SelfTest("echo", payload=payload)).result(WAIT_SECONDS) == payload


def test_a_role_that_is_off_says_so_before_and_after_a_call(workers: WorkerBackend) -> None:
    problem = workers.role_problem(ROLE)
    assert problem is not None
    assert problem.startswith("there is nothing at ")
    with pytest.raises(ModelUnavailable) as raised:
        workers.submit(EmbedText(ROLE, ("a cat",))).result(WAIT_SECONDS)
    assert raised.value.role == ROLE


def test_cancelling_a_finished_call_changes_nothing(workers: WorkerBackend) -> None:
    handle = workers.submit(SelfTest("echo", payload=1))
    assert handle.result(WAIT_SECONDS) == 1
    handle.cancel()
    assert handle.result(0) == 1


def test_the_lanes_have_a_status(workers: WorkerBackend) -> None:
    workers.submit(SelfTest("echo")).result(WAIT_SECONDS)
    (lane,) = workers.status()
    assert (lane.alive, lane.queued, lane.running, lane.deaths) == (True, 0, 0, 0)


def test_a_stopped_backend_refuses_calls_and_may_be_stopped_again(workers: WorkerBackend) -> None:
    workers.stop(0.0)
    with pytest.raises(CallCancelled):
        workers.submit(SelfTest("echo")).result(WAIT_SECONDS)
    workers.stop(0.0)
