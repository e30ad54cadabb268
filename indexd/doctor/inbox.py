"""The inbox: links, pipes and folders with the name of a job file, which indexd never opens."""

from __future__ import annotations

import os
from collections.abc import Iterator

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, ok, warning
from indexd.fs.safe_open import special_file_kind
from indexd.jobs.files.folders import JOB_FILE_SUFFIXES

MAX_NAMED = 3


def check_inbox(config: Config) -> Iterator[DoctorFinding]:
    """Whether everything with the name of a job file is a file."""
    inbox = config.paths.inbox
    if not inbox.is_dir():  # data_folders.py checks folders
        return
    with os.scandir(inbox) as entries:
        named = sorted(
            (entry for entry in entries if entry.name.lower().endswith(JOB_FILE_SUFFIXES)), key=lambda each: each.name
        )
    odd = [
        f"{entry.path} is {kind}"
        for entry in named
        if (kind := special_file_kind(entry.stat(follow_symlinks=False).st_mode))
    ]
    if not odd:
        yield ok("job files", f"every job file name in {inbox} belongs to a file")
        return
    more = f", and {len(odd) - MAX_NAMED} more" if len(odd) > MAX_NAMED else ""
    yield warning(
        "job files",
        f"{', '.join(odd[:MAX_NAMED])}{more}: only files are taken for jobs",
        "move it away, or put a copy of the job file in its place",
    )
