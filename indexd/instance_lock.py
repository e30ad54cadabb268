"""One process writes an index: the lock file beside it, and the note of the process that holds it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from indexd.config import Config
from indexd.errors import StoreError
from indexd.fs.file_stamp import file_identity
from indexd.fs.private_files import make_private_folder

# A process that takes the new lock file reads the note of this one and gives it back.
RESTORE_TIMEOUT_SECONDS = 2.0
ALREADY_RUNNING = "indexd is already running for {index}{holder}; stop it first"


class InstanceLock:
    """The lock file of an index while this process holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._note = path.with_suffix(".pid")
        self._lock = _file_lock(path)
        self._identity: tuple[int, int] | None = None

    def acquire(self, wait_seconds: float = 0.0) -> None:
        """Take the lock. Raises Timeout where another process keeps it longer, or OSError."""
        make_private_folder(self._path.parent)
        self._lock.acquire(timeout=wait_seconds)
        # A live process whose lock file was deleted still writes the index.
        if (holder := self.holder()) is not None and holder != os.getpid():
            self._lock.release()
            raise Timeout(str(self._path))
        self._identity = file_identity(self._path, follow_symlinks=False)
        self._write_note()

    def release(self) -> None:
        """Give the lock back."""
        with contextlib.suppress(OSError):
            self._note.unlink(missing_ok=True)
        self._lock.release()

    def is_lost(self) -> bool:
        """Whether the lock file was deleted or replaced, so that another process can take a new one."""
        return self._identity != file_identity(self._path, follow_symlinks=False)

    def restore(self) -> None:
        """Make the lost lock file anew and hold it. Raises StoreError where another process took it meanwhile."""
        fresh = _file_lock(self._path)
        try:
            make_private_folder(self._path.parent)
            fresh.acquire(timeout=RESTORE_TIMEOUT_SECONDS)
        except Timeout:
            raise StoreError(
                f"the lock {self._path} was deleted and another indexd holds a new one; this one stops"
            ) from None
        self._lock.release()
        self._lock = fresh
        self._identity = file_identity(self._path, follow_symlinks=False)
        self._write_note()

    def holder(self) -> int | None:
        """The process id in the note, where that very process is still alive (Linux only)."""
        try:
            pid, started = self._note.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if pid.isdecimal() and started == _start_time(int(pid)) else None

    def noted_pid(self) -> str:
        """The process id in the note, as text; empty where there is no note."""
        try:
            return self._note.read_text().split()[0]
        except (OSError, IndexError):
            return ""

    def _write_note(self) -> None:
        # Only for error sentences and for `holder`, so a full disk may cost it.
        with contextlib.suppress(OSError):
            self._note.write_text(f"{os.getpid()} {_start_time(os.getpid())}\n")


@contextlib.contextmanager
def instance_lock(
    config: Config, *, wait_seconds: float = 0.0, refusal: str = ALREADY_RUNNING
) -> Iterator[InstanceLock]:
    """Hold the right to write the index.

    Raises StoreError when another process keeps it longer than `wait_seconds` (`refusal` with the {index} and, where it
    is known, the {holder} as ` (process 12)`), and when the lock file cannot be made.
    """
    lock = InstanceLock(config.paths.lock)
    try:
        lock.acquire(wait_seconds)
    except Timeout:
        pid = lock.noted_pid()
        holder = f" (process {pid})" if pid else ""
        raise StoreError(refusal.format(index=config.paths.index, holder=holder)) from None
    except OSError as error:
        raise StoreError(
            f"cannot create the lock file {config.paths.lock}: {error.strerror or error}; see that its folder"
            " can be written and that there is room on its disk"
        ) from None
    try:
        yield lock
    finally:
        lock.release()


def _file_lock(path: Path) -> FileLock:
    # Not bound to a thread: the thread that restores a lost lock is not the one that releases it.
    return FileLock(path, mode=0o600, thread_local=False)


def _start_time(pid: int) -> str:
    """When the process started, in ticks since boot, so that a reused process id is told apart; proc_pid_stat(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "unknown"
    return stat.rpartition(")")[2].split()[19]
