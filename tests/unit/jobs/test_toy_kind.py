"""A job kind is one class: this file holds all of one, whose items are text files that take hours."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from blake3 import blake3
from pydantic import Field

from indexd.errors import JobRefused, RenderFailed
from indexd.jobs.admission.planner import JobPlanner
from indexd.jobs.job_report import item_report
from indexd.jobs.kinds import Artifact, ItemCall, JobKind, PlannedItem, job_kind
from indexd.model_files import ModelCatalogue
from indexd.registry import AlreadyRegistered, job_kinds
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.calls import CallProgress, RunFunction
from indexd.worker.fake_workers import FakeWorkers
from indexd.worker.session import CallSession
from indexd_schemas.jobs.job import JobBase
from tests.unit.jobs.conftest import JobSetup, OpenSetup

LANE = "cpu"


class ChantJob(JobBase):
    """Job files of the kind."""

    kind: Literal["chant"]
    line: str = Field(min_length=1)
    verses: list[int] = Field(min_length=1)


def sing(call: RunFunction, session: CallSession) -> dict[str, Any]:
    """In the worker: one line a step. Long chants are written to a file there."""
    line, verses = call.arguments["line"], call.arguments["verses"]
    for done in range(verses):
        session.poll()
        session.progress("sing", done + 1, verses)
    if line == "off key":
        raise RenderFailed("nobody can sing this")
    text = f"{call.arguments['place']}\n" + f"{line}\n" * verses
    if verses < 100:
        return {"text": text}
    path = Path(call.arguments["scratch"]) / "chant.tmp"
    path.write_text(text, "utf-8")
    return {"file": str(path)}


class ChantKind(JobKind[ChantJob]):
    """One text file for each number of verses."""

    name, schema = "chant", ChantJob
    suffix, silence_seconds = ".txt", None

    def plan(self, job: ChantJob, planner: JobPlanner) -> Sequence[PlannedItem]:
        return [PlannedItem({"line": job.line, "verses": verses}) for verses in job.verses]

    def call(self, job: JobRow, item: JobItemRow, catalogue: ModelCatalogue) -> ItemCall:
        scratch = str(Path(os.fsdecode(item.path)).parent.parent)
        arguments = {**item.settings, "place": _place(job, item), "scratch": scratch}
        return ItemCall(RunFunction(f"{__name__}:sing", LANE, arguments))

    def artifact(self, result: dict[str, Any]) -> Artifact:
        content = result["text"].encode() if "text" in result else Path(result["file"])
        return Artifact(content, {"notes": ["sung"]})


def _place(job: JobRow, item: JobItemRow) -> str:
    return f"{job.id}/{item.index}"


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    job_kind(ChantKind)
    yield
    del job_kinds._handlers["chant"]


JOB = "kind: chant\nline: la la\nverses: [2, 3]\n"


def test_a_job_file_becomes_text_files(setup: JobSetup) -> None:
    setup.jobs.admit_file(setup.drop(JOB))
    setup.work()
    assert setup.images() == ["x-0001.txt", "x-0002.txt"]
    assert (setup.output / "x-0002.txt").read_text() == "1/1\n" + "la la\n" * 3
    assert setup.listed("done") == ["x.result.json", "x.yaml"]
    [first, _] = setup.store.jobs.items(1)
    assert item_report(first, ended=True).notes == ["sung"]
    assert first.content_hash == blake3((setup.output / "x-0001.txt").read_bytes()).digest()


def test_a_file_that_the_worker_wrote_is_moved_into_its_place(setup: JobSetup) -> None:
    setup.jobs.submit(b"kind: chant\nline: la\nverses: [100]\noutput: {name: long}\n", "x.yaml")
    setup.work()
    assert (setup.output / "long.txt").read_text() == "1/0\n" + "la\n" * 100
    assert not (setup.output.parent / "chant.tmp").exists()


def test_a_call_may_be_silent_for_hours_and_its_progress_is_shown(open_setup: OpenSetup) -> None:
    silences: list[float | None] = []

    class Watched(FakeWorkers):
        def submit(self, call: Any, **options: Any) -> Any:
            silences.append(options["timeout_seconds"])
            report = options.pop("on_progress")
            report(CallProgress("sing", 1, 2))
            return super().submit(call, **options)

    workers = Watched()
    workers.hold()
    setup = open_setup(workers)
    setup.jobs.submit(JOB.encode(), "x.yaml")
    setup.work()
    assert silences == [None, None]
    [first, _] = setup.store.jobs.items(1)
    shown = item_report(first, ended=False, progress=setup.jobs.progress[first.id]).progress
    assert shown is not None
    assert (shown.stage, shown.done, shown.total) == ("sing", 1, 2)
    workers.release()
    setup.work()
    assert setup.jobs.progress == {}


def test_what_was_published_before_the_process_ended_is_adopted(open_setup: OpenSetup) -> None:
    def stop_before_the_row(point: str) -> None:
        if point == "linked":
            raise KeyboardInterrupt

    setup = open_setup(fault=stop_before_the_row)
    setup.jobs.submit(JOB.encode(), "x.yaml")
    (setup.output / "x-0002.txt").write_text("somebody else's")
    with pytest.raises(KeyboardInterrupt):
        setup.work()
    assert setup.store.jobs.items(1)[0].state == "running"
    again = open_setup()
    assert again.store.jobs.items(1)[0].state == "done"
    again.work()
    assert again.images() == ["x-0001.txt", "x-0002-2.txt", "x-0002.txt"]
    assert (again.output / "x-0002.txt").read_text() == "somebody else's"
    assert [item.state for item in again.store.jobs.items(1)] == ["done", "done"]


def test_mistakes_are_refused_and_failures_recorded(setup: JobSetup) -> None:
    with pytest.raises(JobRefused, match="line 3, column 9: verses: must be a list"):
        setup.jobs.submit(b"kind: chant\nline: la\nverses: many\n", "x.yaml")
    setup.jobs.submit(b"kind: chant\nline: off key\nverses: [1]\n", "x.yaml")
    setup.work()
    assert setup.store.jobs.items(1)[0].error == "nobody can sing this"


def test_a_job_whose_kind_is_gone_fails_with_the_reason(setup: JobSetup) -> None:
    setup.jobs.submit(JOB.encode(), "x.yaml")
    kind = job_kinds._handlers.pop("chant")
    setup.work()
    job_kinds._handlers["chant"] = kind
    assert "there is no job kind 'chant' any more" in (setup.store.jobs.items(1)[0].error or "")


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(AlreadyRegistered, match="job kind 'chant' is handled by"):
        job_kind(type("Other", (ChantKind,), {}))
