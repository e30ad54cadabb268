"""Checks the inbox for entries that have the name of a job file and are never read."""

from __future__ import annotations

from collections.abc import Iterator

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, ok, warning
from indexd.jobs.files.unread_files import find_unread_job_files


def check_inbox(config: Config) -> Iterator[DoctorFinding]:
    """Check that all entries with the name of a job file are regular files in the inbox itself."""
    inbox = config.paths.inbox
    if not inbox.is_dir():  # data_folders.py checks folders
        return
    unread = find_unread_job_files(inbox)
    for one in unread:
        yield warning("job files", one.text, one.advice)
    if not unread:
        yield ok("job files", f"every entry of {inbox} that is named like a job file is read")
