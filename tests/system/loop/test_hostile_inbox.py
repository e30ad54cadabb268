"""Hostile files and hostile names, dropped into the inbox of the real daemon: each is refused, and nothing else happens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from indexd.demo.daemon_process import DaemonProcess, is_settled
from indexd.watch.watch_filter import WatchFilter
from indexd_schemas.api.output import DaemonStatus
from tests.support.paths import SHARED_CORPUS, TESTS

OWN = TESTS / "unit" / "jobs" / "hostile"
CORPUS = SHARED_CORPUS / "hostile"
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the corpus of hostile files is not at {CORPUS}")

WRONG_JOB = b"kind: txt2img\nprompt: the name is what is hostile here\nsteps: many\n"
WAIT_SECONDS = 60.0
# A daemon that goes round in a circle uses all of a core; one that waits, next to nothing.
IDLE_PERCENT = 50.0


def _drop(home: Path, files: Iterable[tuple[str, bytes]]) -> list[str]:
    """Put the files into the inbox, each by a rename; the names that were dropped."""
    inbox, names = home / "inbox", []
    beside = home / "beside"
    beside.mkdir()
    for name, content in files:
        (beside / "file").write_bytes(content)
        (beside / "file").rename(inbox / name)
        names.append(name)
    return names


def _refusals(home: Path) -> list[Path]:
    return sorted((home / "inbox" / "failed").glob("*.error.txt"))


def _all_refused(daemon: DaemonProcess, files: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Drop the files and wait until each lies in `failed/`; the sentences by the name of the file they speak of."""
    home, pid = daemon.home, daemon.pid
    names = _drop(home, files)

    def refused(status: DaemonStatus) -> bool:
        # The reason is written before the file is moved beside it.
        gone = not any(entry.is_file() for entry in os.scandir(home / "inbox"))
        return gone and len(_refusals(home)) == len(names) and is_settled(status)

    status = daemon.wait_until(f"the refusal of {len(names)} files", refused, WAIT_SECONDS)
    assert status.pid == pid
    assert status.jobs == {} or not any(status.jobs.values())
    sentences = {}
    for text in _refusals(home):
        assert text.with_name(text.name.removesuffix(".error.txt")).is_file()
        sentence = text.read_text("utf-8")
        name, colon, reason = sentence.partition(": ")
        assert colon, sentence
        assert reason.strip(), sentence
        sentences[name] = sentence
    assert sorted(sentences) == sorted(name.encode("utf-8", "replace").decode() for name in names)
    log = daemon.log.read_text("utf-8", "replace")
    assert "Traceback" not in log
    _assert_idle(pid)
    return sentences


def _assert_idle(pid: int) -> None:
    assert psutil.Process(pid).cpu_percent(interval=1.0) < IDLE_PERCENT


def test_our_own_hostile_files_are_refused(bare_home: Path) -> None:
    files = [(path.name, path.read_bytes()) for path in sorted(OWN.iterdir())]
    assert files
    with DaemonProcess(bare_home) as daemon:
        sentences = _all_refused(daemon, files)
    assert "anchors" in sentences["merge-bomb.yaml"]


@needs_corpus
def test_the_corpus_of_hostile_yaml_is_refused(bare_home: Path) -> None:
    files = [(f"{path.name}.yaml", path.read_bytes()) for path in sorted((CORPUS / "yaml" / "pyyaml").iterdir())]
    assert len(files) > 200
    with DaemonProcess(bare_home) as daemon:
        _all_refused(daemon, files)


@needs_corpus
@pytest.mark.skipif(os.name != "posix", reason="most of these cannot be names of files on Windows")
def test_job_files_with_hostile_names_are_refused(bare_home: Path) -> None:
    names = _names(json.loads((CORPUS / "names" / "blns.json").read_text("utf-8")))
    assert len(names) > 200
    with DaemonProcess(bare_home) as daemon:
        _all_refused(daemon, [(name, WRONG_JOB) for name in names])


def _names(strings: Iterable[str]) -> list[str]:
    """What of the strings can be the name of a job file: no folder in it, not too long, not hidden."""
    selection = WatchFilter(purpose="jobs")
    names = dict.fromkeys(f"{string}.yaml" for string in strings if "/" not in string and "\0" not in string)
    return [name for name in names if len(os.fsencode(name)) <= 255 and selection.includes_path(os.fsencode(name))]
