"""The folders that mirror the ledger so that a person can read it: inbox, and in it accepted, done and failed.

The ledger is the truth; every move here can be repeated after a crash and then finds what it did. A file is moved only
while it holds exactly the bytes that the ledger holds, and never onto another one: where `x.yaml` is taken, the name
bears the number of the job (`x.job12.yaml`). What is being written lies in `accepted/`, which stays small, so that the
next start finds what a killed process left there.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from indexd.errors import raise_if_transient
from indexd.jobs.files.atomic import fsync_file, fsync_folder, is_same_file, move_no_replace, replace_file, write_new
from indexd.store.records import JobRow
from indexd.watch.watch_filter import JOB_SUFFIXES
from indexd_schemas.api.output import JobResult
from indexd_schemas.job_state import JobState

JobFolderName = Literal["inbox", "accepted", "done", "failed"]
INBOX: JobFolderName = "inbox"
ACCEPTED: JobFolderName = "accepted"
DONE: JobFolderName = "done"
FAILED: JobFolderName = "failed"
FOLDER_BY_STATE: dict[JobState, JobFolderName] = {
    JobState.QUEUED: ACCEPTED,
    JobState.RUNNING: ACCEPTED,
    JobState.DONE: DONE,
    JobState.FAILED: FAILED,
    JobState.CANCELLED: FAILED,
}
JOB_FILE_SUFFIXES = tuple(os.fsdecode(suffix) for suffix in JOB_SUFFIXES)
RESULT_SUFFIX = ".result.json"
TEMP_NAME = re.compile(r"\.(job\d+|refused)\.part")
"""The names in `accepted/` of what is being written."""
# Room for `.job123-2.yaml.error.txt` within the 255 bytes of a directory entry.
MAX_STEM_BYTES = 200


def is_job_file_name(name: str) -> bool:
    """Whether a file of this name in the inbox is read as a job."""
    return name.lower().endswith(JOB_FILE_SUFFIXES) and not name.lower().endswith(RESULT_SUFFIX)


class JobFolders:
    """The inbox and the folders in it. `lock` is held while a file and its row are brought together."""

    def __init__(self, inbox: Path) -> None:
        self.inbox = inbox
        self.lock = threading.RLock()

    def create(self) -> None:
        """Make the folders where they are missing."""
        for name in (ACCEPTED, DONE, FAILED):
            (self.inbox / name).mkdir(parents=True, exist_ok=True)

    def remove_temp_files(self) -> None:
        """Remove what a killed process was writing; no other may be at work."""
        for name in filter(TEMP_NAME.fullmatch, os.listdir(self.inbox / ACCEPTED)):
            (self.inbox / ACCEPTED / name).unlink(missing_ok=True)

    def accept(self, job: JobRow, duplicates: int) -> None:
        """Move the file of a waiting or running job to `accepted/`, from the inbox or back from `done/` or `failed/`.

        `duplicates` counts the other jobs from files of this name and content whose file is in `accepted/`.
        """
        stem, ending = _stem_and_suffix(job)
        came_from = self.inbox / job.inbox_name if job.inbox_name and job.file_location == INBOX else None
        ended = self._finished_path(job) if job.file_location in (DONE, FAILED) else None
        there = self._files_in_accepted(job)
        half_moved = came_from is not None and any(is_same_file(came_from, path) for path in there)
        if len(there) <= duplicates or half_moved:
            self._place_file(came_from or ended, self._free_path(ACCEPTED, stem, ending, job, came_from), job)
        if ended is not None:
            _result_path(ended).unlink(missing_ok=True)
            _error_path(ended).unlink(missing_ok=True)

    def move_finished(self, job: JobRow, result: JobResult) -> Path:
        """Bring the file of an ended job to `done/` or `failed/`; the result is written last. Its path."""
        stem, ending = _stem_and_suffix(job)
        own = f"{stem}.job{job.id}"
        waiting = sorted(self._files_in_accepted(job), key=lambda path: not path.name.startswith(own))
        source = waiting[0] if waiting else None
        folder = self.inbox / FOLDER_BY_STATE[job.state]
        path = next(
            path for path in _candidate_paths(folder, stem, ending, job.id) if self._is_available(path, job, source)
        )
        if source is not None or not path.exists():
            self._place_file(source, path, job)
        if job.error and job.state != "done":
            self._replace(_error_path(path), f"{job.error}\n".encode("utf-8", "replace"), job)
        self._replace(_result_path(path), (result.model_dump_json(indent=2) + "\n").encode(), job)
        return _result_path(path)

    def refuse(self, path: Path, reason: str) -> Path:
        """Bring a refused file to `failed/` with the reason beside it. Where it lies now."""
        self.create()
        folder, data = self.inbox / FAILED, (reason + "\n").encode("utf-8", "replace")
        name = os.fsencode(path.stem)[:MAX_STEM_BYTES]
        for number in itertools.count(1):
            target = folder / (os.fsdecode(name) + (f"-{number}" if number > 1 else "") + path.suffix)
            text = _error_path(target)
            half_moved = is_same_file(path, target)
            taken = target.exists() or _result_path(target).exists() or (text.exists() and not _has_bytes(text, data))
            if taken and not half_moved:
                continue
            try:
                if not text.exists():
                    write_new(self._temp_path("refused"), text, data)
                if half_moved:
                    path.unlink()
                else:
                    fsync_file(path)
                    move_no_replace(path, target)
            except FileExistsError:
                continue
            fsync_folder(folder)
            fsync_folder(path.parent)
            return target
        raise AssertionError("unreachable: the numbers never end")

    def _place_file(self, source: Path | None, target: Path, job: JobRow) -> None:
        """Put the job's file at `target`: moved from `source` if that has the same bytes, else written from the ledger."""
        # The process ended between the two halves of a move, or between a whole one and its note in the ledger.
        if source is not None and (is_same_file(source, target) or _has_bytes(target, job.source)):
            source.unlink()
        elif source is None or not _has_bytes(source, job.source):
            self._write(target, job)
        else:
            # Its writer may not have synced it, and an empty file would stand in its place after a power cut.
            fsync_file(source)
            move_no_replace(source, target)
            if not _has_bytes(target, job.source):  # somebody saved a new file under the name in this very moment
                move_no_replace(target, source)
                self._write(target, job)
        fsync_folder(target.parent)
        if source is not None:  # or it would be back there, and be taken for a new job
            fsync_folder(source.parent)

    def _files_in_accepted(self, job: JobRow) -> list[Path]:
        """Files in `accepted/` that may be this job's: its name and exactly its bytes."""
        stem, ending = _stem_and_suffix(job)
        folder = self.inbox / ACCEPTED
        names = [n for n in os.listdir(folder) if n == f"{stem}{ending}" or n.startswith(f"{stem}.job")]
        return [folder / name for name in sorted(names) if _has_bytes(folder / name, job.source)]

    def _free_path(self, name: str, stem: str, ending: str, job: JobRow, half: Path | None) -> Path:
        paths = _candidate_paths(self.inbox / name, stem, ending, job.id)
        return next(path for path in paths if not os.path.lexists(path) or (half and is_same_file(half, path)))

    def _finished_path(self, job: JobRow) -> Path | None:
        stem, ending = _stem_and_suffix(job)
        for path in _candidate_paths(self.inbox / job.file_location, stem, ending, job.id):
            if _is_result_of(_result_path(path), job):
                return path
            if not path.exists() and path.stem != stem:
                return None
        return None

    def _is_available(self, path: Path, job: JobRow, source: Path | None) -> bool:
        """Whether a name in `done/` or `failed/` is free, or is this job's from before the process ended."""
        if _result_path(path).exists():
            free = source is None or not os.path.lexists(path) or _has_bytes(path, job.source)
            return free and _is_result_of(_result_path(path), job)
        if _error_path(path).exists() and not path.exists():
            return False
        if os.path.lexists(path):
            return is_same_file(source, path) if source is not None else _has_bytes(path, job.source)
        return True

    def _write(self, target: Path, job: JobRow) -> None:
        write_new(self._temp_path(f"job{job.id}"), target, job.source)

    def _replace(self, path: Path, data: bytes, job: JobRow) -> None:
        replace_file(self._temp_path(f"job{job.id}"), path, data)

    def _temp_path(self, owner: str) -> Path:
        return self.inbox / ACCEPTED / f".{owner}.part"


def _stem_and_suffix(job: JobRow) -> tuple[str, str]:
    name = job.inbox_name or f"{job.name}.yaml"
    stem, dot, ending = name.rpartition(".")
    return os.fsencode(stem)[:MAX_STEM_BYTES].decode("utf-8", "ignore"), dot + ending


def _candidate_paths(folder: Path, stem: str, ending: str, job_id: int) -> Iterator[Path]:
    yield folder / f"{stem}{ending}"
    yield folder / f"{stem}.job{job_id}{ending}"
    for number in itertools.count(2):
        yield folder / f"{stem}.job{job_id}-{number}{ending}"


def _result_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}{RESULT_SUFFIX}")


def _error_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.error.txt")


def _has_bytes(path: Path, data: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(data) + 1) == data
    except OSError as error:
        # An error such as a lack of file handles says nothing about the content, and a second file must not be written.
        raise_if_transient(error)
        return False


def _is_result_of(path: Path, job: JobRow) -> bool:
    try:
        result = json.loads(path.read_bytes())
        return bool(result["job_id"] == job.id and result["created_at"] == job.created_at)
    except OSError as error:
        raise_if_transient(error)
        return False
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
