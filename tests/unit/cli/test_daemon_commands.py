"""The commands that talk to a daemon, with a real door and operations that answer from a script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from indexd.api.http.server import ApiServer
from indexd.api.operations.registry import Operation, ResponseT
from indexd.config import read_config
from indexd_schemas.api.characters import CorrectionLog
from indexd_schemas.api.output import JobItem, JobList, JobSummary, ShownJob
from indexd_schemas.api.requests import (
    ApiRequest,
    JobListRequest,
    ScanRequest,
    SearchRequest,
    SubmitRequest,
    VerifyModelRequest,
)
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import ModelRef
from tests.unit.api.scripted_operations import SCANNED, ScriptedOperations
from tests.unit.cli.conftest import Indexd

RECIPE = Recipe(
    kind="txt2img",
    prompt="a star",
    seed=5,
    width=64,
    height=64,
    steps=2,
    cfg=5.0,
    sampler="euler",
    model=ModelRef(name="tiny", hash="aa"),
)


def picture(path: Path, recipe: Recipe, colour: str) -> Path:
    """A picture of one colour that carries a recipe."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("indexd", recipe.model_dump_json())
    Image.new("RGB", (64, 64), colour).save(path, pnginfo=info)
    return path


class ScriptedJobs(ScriptedOperations):
    """A job that goes on by one state each time it is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.states = ["queued", "running", "done"]
        self.colour = "red"
        self.recipe = RECIPE
        self.made = Path()
        self.error_text: str | None = None

    def carry_out(self, operation: Operation[Any, ResponseT], request: ApiRequest) -> ResponseT:
        if operation.name == "submit":
            self.responses["submit"] = self.shown("queued")
        elif operation.name == "show_job":
            self.responses["show_job"] = self.shown(self.states.pop(0) if len(self.states) > 1 else self.states[0])
        elif isinstance(request, ScanRequest):
            self.responses["scan"] = SCANNED.model_copy(update={"waited": request.wait})
        response = super().carry_out(operation, request)
        if isinstance(request, SubmitRequest) and request.source.startswith("{"):
            output = json.loads(request.source).get("output", {})
            self.made = picture(Path(output["folder"]) / f"{output['name']}.png", self.recipe, self.colour)
        return response

    def shown(self, state: str) -> ShownJob:
        """The job in some state, with one picture in the same."""
        item = JobItem(
            index=0, seed=5, state=state, attempts=1, path=str(self.made), error=self.error_text, seconds=0.5
        )
        error = f"1 of 1 items failed; item 1: {self.error_text}" if self.error_text else None
        job = JobSummary(id=7, name="x", kind="txt2img", state=state, error=error, created_at=1.0, items={state: 1})
        return ShownJob(job=job, items=[item], source="kind: txt2img\n")


@pytest.fixture
def daemon(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedJobs]:
    monkeypatch.setattr("indexd.cli.commands.submit.POLL_SECONDS", 0.01)
    operations = ScriptedJobs()
    server = ApiServer(read_config(home), operations)
    server.start()
    yield operations
    server.stop()


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    file = tmp_path / "star.yaml"
    file.write_text("kind: txt2img\nprompt: a star\n", "utf-8")
    return file


def test_submit(indexd: Indexd, daemon: ScriptedJobs, job_file: Path) -> None:
    accepted = indexd("submit", str(job_file))
    assert (accepted.code, accepted.out) == (0, "")
    assert "job 7 (x) is accepted" in accepted.err
    assert daemon.calls == [("submit", SubmitRequest(name="star.yaml", source=job_file.read_bytes().decode()))]


def test_submit_and_wait(indexd: Indexd, daemon: ScriptedJobs, job_file: Path) -> None:
    daemon.made = Path("/out/star-0001.png")
    done = indexd("submit", str(job_file), "--wait")
    assert (done.code, done.out) == (0, f"{daemon.made}\n")
    assert daemon.names == ["submit", "show_job", "show_job", "show_job"]
    assert indexd("submit", str(job_file), "--wait", "--json").json["job"]["state"] == "done"


def test_submit_and_wait_for_a_job_that_fails(indexd: Indexd, daemon: ScriptedJobs, job_file: Path) -> None:
    daemon.states = ["failed"]
    daemon.error_text = "the latents are not numbers"
    failed = indexd("submit", str(job_file), "--wait")
    assert failed.code == 1
    assert "the latents are not numbers" in failed.err


def test_submit_a_wrong_file(indexd: Indexd, daemon: ScriptedJobs, job_file: Path) -> None:
    job_file.write_text("wrong: true\n", "utf-8")
    refused = indexd("submit", str(job_file))
    assert refused.code == 1
    assert "line 1, column 1: wrong" in refused.err
    job_file.write_bytes(b"prompt: \xff\n")
    assert "byte 8 is not UTF-8" in indexd("submit", str(job_file)).err
    job_file.write_bytes(b"#" * (2 << 20))
    assert "larger than" in indexd("submit", str(job_file)).err
    assert indexd("submit", str(job_file.with_name("gone.yaml"))).code == 2


def test_without_a_daemon(indexd: Indexd, home: Path, job_file: Path) -> None:
    away = indexd("submit", str(job_file))
    assert away.code == 4
    assert str(home / "inbox") in away.err
    assert away.err.count("\n") == 1
    for command in (["scan"], ["jobs", "cancel", "1"], ["jobs", "retry", "1"]):
        assert indexd(*command).code == 4


def test_jobs(indexd: Indexd, daemon: ScriptedJobs) -> None:
    listed = indexd("jobs", "list", "--state", "queued", "-n", "3")
    assert listed.code == 0
    assert "txt2img" in listed.out
    assert daemon.calls[-1] == ("list_jobs", JobListRequest(states=("queued",), limit=3))
    assert indexd("jobs", "list", "--json").json["schema_version"] == 1
    assert "seed 5" in indexd("jobs", "show", "x").out
    assert indexd("jobs", "show", "7", "--source").out == "kind: txt2img\n"
    assert indexd("jobs", "cancel", "7").code == 0
    assert indexd("jobs", "retry", "7", "--json").json["job"]["id"] == 7
    assert daemon.names[-2:] == ["cancel_job", "retry_job"]


def test_a_failed_job_of_one_item_prints_its_error_once(indexd: Indexd, daemon: ScriptedJobs, job_file: Path) -> None:
    daemon.states = ["failed"]
    daemon.error_text = "the latents are not numbers"
    assert indexd("jobs", "show", "7").out.count("the latents are not numbers") == 1
    assert indexd("submit", str(job_file), "--wait").err.count("the latents are not numbers") == 1
    assert len(indexd("jobs", "retry", "7").out.splitlines()) <= 2, "the items are not listed"


def test_an_empty_list_ends_with_the_same_exit_code_as_json(indexd: Indexd, daemon: ScriptedJobs) -> None:
    daemon.responses["list_jobs"] = JobList(jobs=[])
    daemon.responses["list_corrections"] = CorrectionLog(corrections=[])
    for command in (["jobs", "list"], ["characters", "undo", "--list"]):
        assert (indexd(*command).code, indexd(*command, "--json").code) == (3, 3)


def test_scan_by_the_daemon(indexd: Indexd, daemon: ScriptedJobs) -> None:
    assert indexd("scan").out.startswith("2 images in 3 files")
    assert indexd("scan", "--no-wait").out == "the daemon scans\n"
    assert indexd("scan", "--once", "--json").json["waited"] is True
    assert daemon.calls == [("scan", ScanRequest(wait=wait)) for wait in (True, False, True)]


def test_marks_and_questions_go_to_the_daemon(indexd: Indexd, daemon: ScriptedJobs, home: Path) -> None:
    assert indexd("query", "--text", "a cat", "-n", "5", "rating:4..", "--json").code == 3
    _, request = daemon.calls[-1]
    assert isinstance(request, SearchRequest)
    assert (request.terms[0].value, request.filters, request.limit) == ("a cat", ("rating:4..",), 5)
    assert indexd("rate", "1", "5").code == 0
    assert indexd("tag", "1", "+a").code == 5
    assert indexd("status").out.startswith("indexd 0 runs as process 1")
    assert not (home / "index.db").exists()


def test_verify_by_the_daemon(indexd: Indexd, daemon: ScriptedJobs) -> None:
    verified = indexd("models", "verify", "bge", "clip_h")
    assert verified.code == 0
    assert daemon.calls == [("verify_model", VerifyModelRequest(role=role)) for role in ("bge", "clip_h")]


def test_replay_that_is_equal(indexd: Indexd, daemon: ScriptedJobs, tmp_path: Path) -> None:
    original = picture(tmp_path / "original.png", RECIPE, "red")
    out = tmp_path / "again.png"
    equal = indexd("replay", str(original), "--out", str(out))
    assert equal.code == 0
    assert equal.out.startswith("equal: every pixel")
    assert out.is_file()
    daemon.states = ["done"]
    thrown_away = indexd("replay", str(original), "--json")
    assert thrown_away.json["equal"] is True
    assert not daemon.made.exists()
    assert not daemon.made.parent.exists()


def test_replay_that_differs_says_how_and_why(indexd: Indexd, daemon: ScriptedJobs, tmp_path: Path) -> None:
    daemon.colour = "#fe0000"
    daemon.recipe = RECIPE.model_copy(update={"model": ModelRef(name="tiny", hash="bb"), "dtype": "float16"})
    different = indexd("replay", str(picture(tmp_path / "original.png", RECIPE, "red")))
    assert different.code == 1
    assert different.out == "different: 4096 pixels, by up to 1 of 255\n"
    assert "another file now (bb, was aa)" in different.err
    assert "float16" in different.err


def test_replay_of_an_image_of_another_program(indexd: Indexd, daemon: ScriptedJobs, tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(
        "parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x64, Version: v1.9.4"
    )
    foreign = tmp_path / "foreign.png"
    Image.new("RGB", (64, 64), "red").save(foreign, pnginfo=info)
    equal = indexd("replay", str(foreign))
    assert equal.code == 0
    assert equal.out.startswith("equal: every pixel")
    assert f"note: a1111 made {foreign}" in equal.err


def test_replay_put_wrongly(indexd: Indexd, daemon: ScriptedJobs, tmp_path: Path) -> None:
    original = picture(tmp_path / "original.png", RECIPE, "red")
    plain = tmp_path / "plain.png"
    Image.new("RGB", (8, 8)).save(plain)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert "carries no recipe" in indexd("replay", str(plain)).err
    assert "cannot be read" in indexd("replay", str(text)).err
    assert indexd("replay", str(original), "--out", str(tmp_path / "x.jpg")).code == 2
    assert "left as it is" in indexd("replay", str(original), "--out", str(plain)).err
    assert "no folder" in indexd("replay", str(original), "--out", str(tmp_path / "gone" / "x.png")).err
    assert daemon.calls == []
