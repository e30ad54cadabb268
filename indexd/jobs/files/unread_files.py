"""Finds entries of the inbox that have the name of a job file and are never read: in sub-folders, links, pipes, folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from indexd.fs.paths import display
from indexd.fs.safe_open import special_file_kind
from indexd.jobs.files.folders import ACCEPTED, DONE, FAILED, is_job_file_name

MAX_LISTED = 100
MAX_ENTRIES = 10_000
"""Entries that are looked at: a person may keep large folders of input images in the inbox."""
MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class UnreadJobFiles:
    """Files that are not read for one reason. `text` names them and the reason, `advice` what a person does about it."""

    text: str
    advice: str

    @property
    def sentence(self) -> str:
        """Text and advice in one line."""
        return f"{self.text}; {self.advice}"


def find_unread_job_files(inbox: Path) -> list[UnreadJobFiles]:
    """The entries of the inbox that indexd does not read. Raises OSError when the inbox cannot be listed."""
    if not inbox.is_dir():
        return []
    found = []
    with os.scandir(inbox) as entries:
        named = sorted((entry for entry in entries if is_job_file_name(entry.name)), key=lambda entry: entry.name)
    special = [
        f"{display(os.fsencode(entry.path))} is {kind}"
        for entry in named
        if (kind := special_file_kind(entry.stat(follow_symlinks=False).st_mode))
    ]
    if special:
        text = f"{_format_list(special)}: only regular files are read as jobs"
        found.append(UnreadJobFiles(text, "replace it with a copy of the job file, or remove it"))
    below = sorted(display(os.fsencode(path)) for path in _job_files_below(inbox))
    if below:
        text = f"{_format_list(below)}: job files in folders below the inbox are not read"
        found.append(UnreadJobFiles(text, f"move them into {display(os.fsencode(inbox))} itself"))
    return found


def _job_files_below(inbox: Path) -> Iterator[Path]:
    """Yield at most MAX_LISTED job files in sub-folders, without the folders of accepted and ended jobs."""
    listed = seen = 0
    for folder, below, names in os.walk(inbox):
        if Path(folder) == inbox:
            below[:] = sorted(name for name in below if name not in (ACCEPTED, DONE, FAILED) and name[0] != ".")
            continue
        for name in names:
            seen += 1
            if is_job_file_name(name):
                yield Path(folder, name)
                listed += 1
            if listed >= MAX_LISTED or seen >= MAX_ENTRIES:
                return


def _format_list(texts: list[str]) -> str:
    more = f", and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
    return f"{', '.join(texts[:MAX_NAMED])}{more}"
