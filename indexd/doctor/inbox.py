"""Checks the inbox for entries that have the name of a job file and are never read."""

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
    """Check that all entries with the name of a job file are regular files in the inbox itself."""
    inbox = config.paths.inbox
    if not inbox.is_dir():  # data_folders.py checks folders
        return
    with os.scandir(inbox) as entries:
        named = sorted((entry for entry in entries if is_job_file_name(entry.name)), key=lambda entry: entry.name)
    special = [
        f"{entry.path} is {kind}"
        for entry in named
        if (kind := special_file_kind(entry.stat(follow_symlinks=False).st_mode))
    ]
    if special:
        yield warning(
            "job files",
            f"{_format_list(special)}: only regular files are read as jobs",
            "replace it with a copy of the job file, or remove it",
        )
    below = sorted(str(path) for path in _job_files_below(inbox))
    if below:
        yield warning(
            "job files",
            f"{_format_list(below)}: job files in folders below the inbox are not read",
            f"move them into {inbox} itself",
        )
    if not special and not below:
        yield ok("job files", f"every entry of {inbox} that is named like a job file is read")


def _job_files_below(inbox: Path) -> Iterator[Path]:
    """Yield about MAX_LISTED job files in subfolders, without the folders of accepted and ended jobs."""
    count = 0
    for folder, below, names in os.walk(inbox):
        if Path(folder) == inbox:
            below[:] = [name for name in below if name not in (ACCEPTED, DONE, FAILED) and not name.startswith(".")]
            continue
        for name in names:
            if is_job_file_name(name):
                yield Path(folder, name)
                count += 1
        if count > MAX_LISTED:
            return


def _format_list(texts: list[str]) -> str:
    more = f", and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
    return f"{', '.join(texts[:MAX_NAMED])}{more}"
