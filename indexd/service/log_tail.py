"""Prints the end of a log file, and follows it across rotations."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from indexd.errors import IndexdError

POLL_SECONDS = 0.5


def tail_log(
    file: Path,
    lines: int,
    *,
    follow: bool,
    echo: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Print the last lines, and with `follow` all later ones. Raises IndexdError when the file cannot be read."""
    try:
        stream = file.open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise IndexdError(f"cannot read the log {file}: {error.strerror or error}; did the daemon run?") from None
    with stream:
        for line in deque(stream, lines):
            echo(line.rstrip("\n"))
        while follow:
            if line := stream.readline():
                echo(line.rstrip("\n"))
            elif _is_rotated(file, stream.tell()):
                tail_log(file, 1_000_000, follow=True, echo=echo, sleep=sleep)
                return
            else:
                sleep(POLL_SECONDS)


def _is_rotated(file: Path, position: int) -> bool:
    """Whether a newer file has the name: it is shorter than the `position` read so far."""
    try:
        return file.stat().st_size < position
    except OSError:
        return False
