"""The command that is run when a job ends: real programs, never a shell, never twice, never in the queue's way."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from indexd.config import read_config
from indexd.errors import SettingsError
from indexd.jobs.notify import Notifier, fill_placeholders
from indexd.jobs.queue.runner import JobRunner
from indexd.jobs.service import JobService
from indexd.worker.fake_workers import FakeWorkers
from indexd_schemas.settings import NotifySettings
from tests.support.handle_shortage import HandleShortage
from tests.unit.jobs.conftest import JobSetup

SMALL = b"kind: txt2img\nprompt: a fox\nsize: 64x64\ncount: 2\n"
TELL = "import json, os, sys; open({file!r}, 'a').write(json.dumps([sys.argv[1:], {{k: v for k, v in os.environ.items() if k.startswith('INDEXD_JOB_')}}]) + '\\n')"


class Told:
    """A job service whose settings have a command, and what the command wrote down."""

    def __init__(self, setup: JobSetup, file: Path, notify: NotifySettings) -> None:
        self.config = read_config(setup.config.paths.home, {"notify": notify.model_dump()})
        self.file = file
        self.store = setup.store
        self.jobs = JobService(setup.store, self.config)
        self.runner = JobRunner(setup.store, FakeWorkers(), self.jobs)
        self.announcer = Notifier(setup.store.jobs, self.jobs, self.config.settings.notify)

    def make(self, name: str = "fox.yaml") -> int:
        job = self.jobs.submit(SMALL, name).id
        for _ in range(50):
            self.runner._wake_requested = False
            if self.runner.run_once() != 0.0:
                return job
        raise AssertionError("the runner finds no rest")

    def calls(self) -> list[tuple[list[str], dict[str, str]]]:
        if not self.file.exists():
            return []
        return [tuple(json.loads(line)) for line in self.file.read_text().splitlines()]


Opens = Callable[..., Told]


@pytest.fixture
def told(setup: JobSetup, tmp_path: Path) -> Opens:
    def opened(*arguments: str, program: tuple[str, ...] | None = None, **more: object) -> Told:
        file = tmp_path / "told"
        command = program or (sys.executable, "-S", "-c", TELL.format(file=str(file)), *arguments)
        return Told(setup, file, NotifySettings.model_validate({"command": command, **more}))

    return opened


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def test_the_words_arrive_in_arguments_and_environment_and_no_shell_reads_them(told: Opens, setup: JobSetup) -> None:
    here = told("{job}: {state}", "{images} in {folder}", "$(touch pwned); `id` && {id}")
    here.announcer.start()
    job = here.make("-rf $(touch x) ;ä.yaml")
    until(here.calls)
    here.announcer.stop()
    assert len(here.calls()) == 1
    arguments, environment = here.calls()[0]
    name = "-rf $(touch x) ;ä"
    folder = str(setup.config.paths.output)
    assert arguments == [f" {name}: done", f"2 in {folder}", f"$(touch pwned); `id` && {job}"]
    assert environment == {
        "INDEXD_JOB_NAME": name, "INDEXD_JOB_ID": str(job), "INDEXD_JOB_STATE": "done", "INDEXD_JOB_IMAGES": "2",
        "INDEXD_JOB_FOLDER": folder, "INDEXD_JOB_REASON": "",
    }  # fmt: skip


@pytest.mark.parametrize("count", [1, 3])
def test_an_end_is_told_of_when_there_are_handles_again(
    told: Opens, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("indexd.jobs.notify.RETRY_SECONDS", 0.01)
    here = told("{id}")
    job = here.make()
    shortage = HandleShortage(monkeypatch)
    shortage.refuse(0, count)
    here.announcer.start()
    until(here.calls)
    here.announcer.stop()
    assert [arguments for arguments, _ in here.calls()] == [[str(job)]]


def test_only_the_ends_that_were_asked_for(told: Opens) -> None:
    here = told("{state}", on=["cancelled"])
    here.announcer.start()
    here.make()
    job = here.jobs.submit(SMALL, "x.yaml").id
    here.jobs.cancel(job)
    until(here.calls)
    here.announcer.stop()
    assert [arguments for arguments, _ in here.calls()] == [["cancelled"]]


def test_a_job_that_ended_before_a_crash_is_told_of_once_after_it(told: Opens) -> None:
    here = told("{id}")
    job = here.make()
    assert [row.id for row in here.store.jobs.unnotified()] == [job]
    for _ in range(2):
        later = Notifier(here.store.jobs, here.jobs, here.config.settings.notify)
        later.start()
        until(here.calls)
        later.stop()
    assert [arguments for arguments, _ in here.calls()] == [[str(job)]]


def test_what_was_begun_is_not_told_of_twice(told: Opens) -> None:
    here = told("{id}")
    job = here.make()
    # The process ends after the ledger was told and before the command has done anything.
    assert here.store.jobs.claim_notification(job)
    assert not here.store.jobs.claim_notification(job)
    here.announcer.start()
    second = here.make("y.yaml")
    until(here.calls)
    here.announcer.stop()
    assert [arguments for arguments, _ in here.calls()] == [[str(second)]]


def test_a_job_that_is_tried_again_is_not_told_of_as_ended(told: Opens) -> None:
    here = told(on=["cancelled"])
    job = here.jobs.submit(SMALL, "x.yaml").id
    here.jobs.cancel(job)
    here.jobs.retry(job)
    assert here.store.jobs.unnotified() == []


def test_what_ended_while_there_was_no_command_is_never_told_of(told: Opens, setup: JobSetup) -> None:
    here = told("{id}")
    here.make()
    Notifier(here.store.jobs, here.jobs, NotifySettings()).start()
    assert here.store.jobs.unnotified() == []
    silent = Told(setup, here.file, NotifySettings())
    silent.make("z.yaml")
    assert here.store.jobs.unnotified() == []


def test_a_command_that_fails_is_named_once_and_the_next_is_run(told: Opens, caplog: pytest.LogCaptureFixture) -> None:
    here = told(program=(sys.executable, "-S", "-c", "import sys; sys.exit('no bus ' + chr(7))"))
    with caplog.at_level(logging.WARNING, "indexd.jobs.notify"):
        here.announcer.start()
        for name in ("a.yaml", "b.yaml", "c.yaml"):
            here.make(name)
        until(lambda: not here.store.jobs.unnotified())
        here.announcer.stop()
    assert [record.getMessage() for record in caplog.records if record.name == "indexd.jobs.notify"] == [
        "the command of [notify] ended with 1: no bus ?"
    ]


def test_a_program_that_is_not_there(told: Opens, caplog: pytest.LogCaptureFixture) -> None:
    here = told(program=("/nowhere/at-all", "{job}"))
    here.announcer.start()
    here.make()
    until(lambda: "cannot be run" in caplog.text)
    here.announcer.stop()


@pytest.mark.skipif(os.name != "posix", reason="groups of processes")
def test_one_that_hangs_holds_nothing_up_and_is_ended_with_what_it_started(told: Opens, tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"sleep 600 & echo $! > {child}; wait"
    here = told(program=("/bin/sh", "-c", script), time_limit="500ms")
    here.announcer.start()
    began = time.monotonic()
    here.make("a.yaml")
    assert time.monotonic() - began < 10
    until(lambda: child.exists() and child.read_text().strip())
    until(lambda: not _runs(int(child.read_text())))
    here.announcer.stop()


@pytest.mark.skipif(os.name != "posix", reason="groups of processes")
def test_stopping_does_not_wait_for_it(
    told: Opens, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here = told(program=("/bin/sleep", "600"))
    here.announcer.start()
    here.make()
    until(lambda: here.announcer._process is not None)
    assert here.announcer.stop(timeout_seconds=0.2)
    assert here.announcer.join(0)
    assert "[notify]" not in caplog.text


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that nobody has waited for yet still has its number.
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_values_cannot_become_options_or_break_the_call() -> None:
    assert fill_placeholders("{job}", {"job": "--help"}) == " --help"
    assert fill_placeholders("--text={job}", {"job": "--help"}) == "--text=--help"
    assert fill_placeholders("{job}", {"job": "a\0b\udcff{id}"}) == "ab?{id}"
    assert fill_placeholders("{other} {}", {"other": "x"}) == "x {}"


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ('["notify-send", "{jbo}"]', "did you mean {job}"),
        ('["{job}"]', "the program name"),
        ('["", "x"]', "program name is empty"),
        ('"notify-send"', "tuple"),
    ],
)
def test_a_command_that_cannot_be_is_refused_with_the_settings(tmp_path: Path, command: str, part: str) -> None:
    (tmp_path / "indexd.toml").write_text(f"[notify]\ncommand = {command}\n")
    with pytest.raises(SettingsError, match=part):
        read_config(tmp_path)
    (tmp_path / "indexd.toml").write_text('[notify]\ntime_limit = "never"\n')
    with pytest.raises(SettingsError, match="finite"):
        read_config(tmp_path)
