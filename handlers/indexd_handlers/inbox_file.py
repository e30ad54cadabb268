"""Admits settled files of the inbox as jobs, or refuses them with the reason beside them.

Reads the file; writes the ledger, then moves the file (`accepted/`, or `failed/` with `x.yaml.error.txt`). Running it
twice for one file is harmless. Files that are no job files, and those in the folders below the inbox, are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from indexd.fs.file_stamp import SettledFile
from indexd.fs.paths import absolute
from indexd.registry import IngestContext, handles_file


@handles_file("job")
def admit_job_files(files: Sequence[SettledFile], context: IngestContext) -> list[None]:
    """Admit the files one by one; a batch of job files has one file."""
    for file in files:
        context.jobs.admit_file(Path(os.fsdecode(absolute(file.root, file.rel))))
    return [None] * len(files)
