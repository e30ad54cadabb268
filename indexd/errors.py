"""Every error that a person can act on. Light to import; each carries the exit code of the command line.

The text of an error says what failed, which file, and what to do. An exception that is not in this tree is a bug
and is shown with its traceback.
"""

from __future__ import annotations

import errno
import os

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_NOTHING_FOUND = 3
EXIT_NO_DAEMON = 4
EXIT_PARTLY_FAILED = 5


_NO_HANDLE_ERRNOS = frozenset((errno.EMFILE, errno.ENFILE))
_SHORTAGE_ERRNOS = _NO_HANDLE_ERRNOS | {errno.ENOMEM, errno.EAGAIN}
_TRANSIENT_ERRNOS = _SHORTAGE_ERRNOS | frozenset(
    getattr(errno, name) for name in ("EIO", "ESTALE", "ETIMEDOUT", "EHOSTDOWN", "ENOTCONN") if hasattr(errno, name)
)


def is_out_of_handles(error: BaseException) -> bool:
    """Whether nothing at all can be opened now. EAGAIN, ENOMEM and EIO a share may answer for one folder, for ever."""
    return isinstance(error, OSError) and error.errno in _NO_HANDLE_ERRNOS


def is_resource_shortage(error: BaseException) -> bool:
    """Whether the system had no handle, memory, thread or process to give at this moment, whatever was asked for."""
    return isinstance(error, OSError) and error.errno in _SHORTAGE_ERRNOS


def is_transient_os_error(error: BaseException) -> bool:
    """Whether it says nothing of the file: the disk, the network or this process is in trouble, and may come out of it."""
    return isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS


def raise_if_transient(error: OSError) -> None:
    """Raise it again where the next try may go well; also `onerror` of os.walk: other folders are passed over."""
    if is_transient_os_error(error):
        raise error


def raise_transient_if_present(error: OSError | IndexdError, path: bytes | str | os.PathLike[str]) -> None:
    """Raise it again where the machine keeps from being read what is there.

    A path on a disconnected share does not exist. Then only that file fails, and the caller continues.
    """
    if is_transient_os_error(error) and os.path.exists(path):
        raise error


class IndexdError(Exception):
    """The root of the tree: one sentence for the person, no traceback."""

    exit_code = EXIT_ERROR


class UsageError(IndexdError):
    """The command or the question was put wrongly."""

    exit_code = EXIT_USAGE


class NothingFound(IndexdError):
    """The question was right and the answer is empty."""

    exit_code = EXIT_NOTHING_FOUND


class DaemonNotRunning(IndexdError):
    """The command needs the daemon, and no daemon answers on the socket."""

    exit_code = EXIT_NO_DAEMON


class DaemonNotResponding(IndexdError):
    """A process holds the socket and accepts connections, and answers nothing."""


class SettingsError(IndexdError):
    """The settings file, an environment variable or a flag holds something that cannot be used."""


class StoreError(IndexdError):
    """The index cannot be opened or written: newer, foreign, locked, damaged, on a network share, disk full."""


class IndexDamaged(StoreError):
    """The index file cannot be read where it was read: bytes of it are wrong or gone. The next start mends it."""


class StoreUnavailable(StoreError):
    """The index, or where pictures go, cannot be used at this moment (another program holds it, no file handle is left,
    the disk fails); nothing of the transaction was kept, and who waits and tries again loses nothing.
    """


class StorageFull(StoreUnavailable):
    """The disk (or its inodes) ran out; nothing of the transaction was kept."""


def is_transient(error: BaseException) -> bool:
    """Whether a thread that moves a queue waits and tries again, and does not end for it."""
    return isinstance(error, StoreUnavailable) or is_transient_os_error(error)


class NotRegularFile(IndexdError):
    """The path is not a regular file (a link, a pipe, a device, a folder)."""


class NotAnImage(IndexdError):
    """The bytes are not a picture of a format that is opened here; the text is the recorded reason."""


class JobRefused(IndexdError):
    """A job file was refused; the text names line, column and what to change, one problem a line."""


class ModelUnavailable(IndexdError):
    """A role has no usable model: `role` is off, because `reason`. Work that needs it waits."""

    def __init__(self, role: str, reason: str) -> None:
        super().__init__(f"{role} is off, because {reason}")
        self.role = role
        self.reason = reason

    def __reduce__(self) -> tuple[type[ModelUnavailable], tuple[str, str]]:
        return (ModelUnavailable, (self.role, self.reason))


class WorkerDied(IndexdError):
    """The worker process ended while it held this call."""


class CallCancelled(IndexdError):
    """The call was cancelled before it was finished."""


class CallTimedOut(WorkerDied):
    """The call held the worker longer than its limit, and the worker was ended for it."""


class OutOfMemory(IndexdError):
    """The device has no room for this call even after every idle model was evicted."""


class RenderFailed(IndexdError):
    """A stage of a render failed; the text says which stage, on which picture, and what was measured."""
