"""Finds temporary files that a killed process of indexd left, by their names."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, ok, warning
from indexd.jobs.files.folders import ACCEPTED, TEMP_NAME

# Younger files may still be written.
MIN_AGE_SECONDS = 3600.0
SEARCH_TIMEOUT_SECONDS = 5.0
MAX_NAMED = 3

_IMAGE_PARTIAL = re.compile(r"\.indexd-[0-9a-zA-Z]+-\d+\.part")
_INDEX_PARTIAL = re.compile(r"index-\d{8}T\d{6}Z\.db\.part|\.api-token\.\d+\.tmp")
_THUMBNAIL_PARTIAL = re.compile(r"[0-9a-f]{16,}\.part")


def check_leftovers(config: Config) -> Iterator[DoctorFinding]:
    """Report temporary files that are older than MIN_AGE_SECONDS; the fix removes them."""
    paths = config.paths
    locations = (
        (paths.output, _IMAGE_PARTIAL, True),
        *((Path(root.path), _IMAGE_PARTIAL, True) for root in config.settings.roots),
        (paths.inbox / ACCEPTED, TEMP_NAME, False),
        (paths.backups, _INDEX_PARTIAL, False),
        (paths.token.parent, _INDEX_PARTIAL, False),
        (paths.index.parent, re.compile(re.escape(paths.index.name) + r".*\.part"), False),
        (paths.thumbnails, _THUMBNAIL_PARTIAL, True),
    )
    deadline = time.monotonic() + SEARCH_TIMEOUT_SECONDS
    found = sorted(
        {path for folder, name, recursive in locations for path in _temporary_files(folder, name, recursive, deadline)}
    )
    if not found:
        yield ok("leftovers", "no temporary files of killed processes")
        return
    named = ", ".join(map(str, found[:MAX_NAMED])) + (
        f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    )
    text = f"{len(found)} temporary {'file' if len(found) == 1 else 'files'} of a killed process: {named}"
    yield warning("leftovers", text, "`indexd doctor --fix` removes them", partial(_remove, found))


def _temporary_files(folder: Path, name: re.Pattern[str], recursive: bool, deadline: float) -> Iterator[Path]:
    modified_before = time.time() - MIN_AGE_SECONDS
    pending = [folder]
    while pending and time.monotonic() < deadline:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if recursive:
                            pending.append(Path(entry.path))
                    elif name.fullmatch(entry.name) and _is_old_file(entry, modified_before):
                        yield Path(entry.path)
        except OSError:
            continue


def _is_old_file(entry: os.DirEntry[str], before: float) -> bool:
    return entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before


def _remove(files: list[Path]) -> str:
    for file in files:
        file.unlink(missing_ok=True)
    return f"removed {len(files)}"
