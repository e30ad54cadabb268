"""Checks of the inbox: entries that are named like job files and are never read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, ok, warning
from indexd.fs.safe_open import special_file_kind
from indexd.jobs.files.folders import ACCEPTED, DONE, FAILED, is_job_file_name

MAX_NAMED = 3
MAX_LISTED = 100


def check_inbox(config: Config) -> Iterator[DoctorFinding]:
    """Whether everything with the name of a job file is a file."""
    inbox = config.paths.inbox
    if not inbox.is_dir():  # data_folders.py checks folders
        return
    with os.scandir(inbox) as entries:
        named = sorted((entry for entry in entries if is_job_file_name(entry.name)), key=lambda each: each.name)
    odd = [
        f"{entry.path} is {kind}"
        for entry in named
        if (kind := special_file_kind(entry.stat(follow_symlinks=False).st_mode))
    ]
    if odd:
        yield warning(
            "job files",
            f"{_listed(odd)}: only regular files are read as jobs",
            "move it away, or put a copy of the job file in its place",
        )
    below = sorted(str(path) for path in _job_files_below(inbox))
    if below:
        yield warning(
            "job files",
            f"{_listed(below)}: job files in folders below the inbox are not read",
            f"move them into {inbox} itself",
        )
    if not odd and not below:
        yield ok("job files", f"every entry of {inbox} that is named like a job file is read")


def _job_files_below(inbox: Path) -> Iterator[Path]:
    """Job files one or more folders below the inbox, those of ended and accepted jobs left out; at most MAX_LISTED."""
    found = 0
    for folder, below, names in os.walk(inbox):
        if Path(folder) == inbox:
            below[:] = [name for name in below if name not in (ACCEPTED, DONE, FAILED) and not name.startswith(".")]
            continue
        for name in names:
            if is_job_file_name(name):
                yield Path(folder, name)
                found += 1
        if found > MAX_LISTED:
            return


def _listed(texts: list[str]) -> str:
    more = f", and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
    return f"{', '.join(texts[:MAX_NAMED])}{more}"
