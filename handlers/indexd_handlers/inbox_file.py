"""What happens when a file settles in the inbox: it is admitted as a job or refused with the reason beside it.

Reads the file; writes the ledger, then moves the file (`accepted/`, or `failed/` with `x.yaml.error.txt`). Running it
twice for one file is harmless. Files that are no job files, and those in the folders below the inbox, are left alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from indexd.fs.file_stamp import SettledFile
from indexd.fs.paths import absolute
from indexd.registry import IngestContext, handles_file


@handles_file("job")
def admit_job_file(file: SettledFile, context: IngestContext) -> None:
    """Hand the file to the `Jobs` facade."""
    context.jobs.admit_file(Path(os.fsdecode(absolute(file.root, file.rel))))
