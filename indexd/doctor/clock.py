"""Checks the clock, because indexd detects changed files by their times."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, ok, warning

MAX_AHEAD_SECONDS = 120.0
TIMEDATECTL_TIMEOUT_SECONDS = 10


def check_clock(config: Config, now: float | None = None) -> Iterator[DoctorFinding]:
    """Check that no file of indexd has a time in the future, and that the system synchronises the clock."""
    now = time.time() if now is None else now
    paths = config.paths
    ahead = []
    for file in (paths.index, paths.index.with_name(f"{paths.index.name}-wal"), paths.settings_file, paths.lock):
        try:
            seconds = file.stat().st_mtime - now
        except OSError:
            continue
        if seconds > MAX_AHEAD_SECONDS:
            ahead.append(f"{file} is dated {seconds / 60:.0f} min ahead")
    if ahead:
        yield warning("clock", "; ".join(ahead), "set the clock; `indexd scan` then compares every folder")
    elif is_synchronised() is False:
        text = "the clock is not synchronised"
        yield warning("clock", text, "sudo timedatectl set-ntp true")
    else:
        yield ok("clock", time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now)))


def is_synchronised() -> bool | None:
    """Whether the clock is synchronised by the network; None if unknown."""
    if shutil.which("timedatectl") is None:
        return None
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        output = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEDATECTL_TIMEOUT_SECONDS, check=False
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(output)
