"""One process writes an index: the lock beside it, and the note of who holds it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from filelock import FileLock, Timeout

from indexd.config import Config
from indexd.errors import StoreError

ALREADY_RUNNING = "indexd is already running for {index}{holder}; stop it first"


@contextlib.contextmanager
def instance_lock(config: Config, *, wait_seconds: float = 0.0, refusal: str = ALREADY_RUNNING) -> Iterator[None]:
    """Hold the right to write the index.

    Raises StoreError when another process keeps it longer than `wait_seconds`: `refusal` with the {index} and, where it
    is known, the {holder} as ` (process 12)`; and when there can be no lock (no room, no right, no file handle).
    """
    lock_file = config.paths.lock
    lock = FileLock(lock_file)
    note = lock_file.with_suffix(".pid")
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_seconds)
    except Timeout:
        holder = ""
        with contextlib.suppress(OSError):
            holder = f" (process {note.read_text().strip()})"
        raise StoreError(refusal.format(index=config.paths.index, holder=holder)) from None
    except OSError as error:
        raise StoreError(
            f"the lock of the index, {lock_file}, cannot be made: {error.strerror or error}; see that its folder can be"
            " written and that there is room on its disk"
        ) from None
    try:
        # Only for the sentence above, so a full disk may cost it.
        with contextlib.suppress(OSError):
            note.write_text(f"{os.getpid()}\n")
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()
