"""The end of a log file, and what is added to it, across rotations."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from indexd.errors import IndexdError

LOOK_SECONDS = 0.5


def show(
    file: Path,
    lines: int,
    *,
    follow: bool,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Say the last lines, and with `follow` every later one, for ever. Raises IndexdError when there is no such file."""
    try:
        stream = file.open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise IndexdError(f"cannot read the log {file}: {error.strerror or error}; has the daemon ever run?") from None
    with stream:
        for line in deque(stream, lines):
            say(line.rstrip("\n"))
        while follow:
            if line := stream.readline():
                say(line.rstrip("\n"))
            elif _is_shorter(file, stream.tell()):
                show(file, 1_000_000, follow=True, say=say, sleep=sleep)
                return
            else:
                sleep(LOOK_SECONDS)


def _is_shorter(file: Path, read: int) -> bool:
    """Whether the name leads to another, newer file by now."""
    try:
        return file.stat().st_size < read
    except OSError:
        return False
