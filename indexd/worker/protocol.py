"""The messages between a lane and its child process, one record each."""

from __future__ import annotations

import errno
import pickle
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexd.errors import CallCancelled, IndexdError, OutOfMemory, is_resource_shortage
from indexd.worker.calls import AnyCall, CallProgress

if TYPE_CHECKING:
    # What multiprocessing.Pipe() gives is another class on Windows, and typeshed tells them apart.
    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection

        ProcessPipe = PipeConnection[Any, Any]
    else:
        from multiprocessing.connection import Connection

        ProcessPipe = Connection[Any, Any]


class WorkerBug(Exception):
    """A bug in the code of the worker, with the traceback of the worker process."""


@dataclass(frozen=True, slots=True)
class RunCall:
    """To the child: serve this call. Lower `priority` first, then lower `number`."""

    number: int
    priority: int
    call: AnyCall


@dataclass(frozen=True, slots=True)
class CancelCall:
    """To the child: cancel the call."""

    number: int


@dataclass(frozen=True, slots=True)
class StopWorker:
    """To the child: finish the started calls, start no other, exit."""


@dataclass(frozen=True, slots=True)
class CallStarted:
    """From the child: the call is started. A call that is not started can be sent to another child."""

    number: int


@dataclass(frozen=True, slots=True)
class ProgressMessage:
    """From the child: the progress of a call."""

    number: int
    progress: CallProgress


@dataclass(frozen=True, slots=True)
class CallFinished:
    """From the child: the result of a call."""

    number: int
    result: Any


@dataclass(frozen=True, slots=True)
class CallFailed:
    """From the child: why a call has no result."""

    number: int
    error: Exception


@dataclass(frozen=True, slots=True)
class ResidentRoles:
    """From the child: the roles whose models are loaded, with the seconds since their last use."""

    models: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class WorkerExiting:
    """From the child, before it exits when idle: it starts no call that arrives after this."""


@dataclass(frozen=True, slots=True)
class LogMessage:
    """From the child: one line for the daemon's log."""

    level: int
    logger: str
    text: str


ToChild = RunCall | CancelCall | StopWorker
FromChild = CallStarted | ProgressMessage | CallFinished | CallFailed | ResidentRoles | WorkerExiting | LogMessage


def picklable_error(error: BaseException) -> Exception:
    """`error` as it can cross: ours and the system's as they are, out of memory as OutOfMemory, a defect as WorkerBug.

    A lack of file handles or processes stays that error, whatever wrapped it on its way up: no image, model or job is
    to blame. A library's own kind of OSError becomes a plain one: the daemon would have to import that
    library to read it.
    """
    short = _root_shortage(error)
    if short is not None:
        told = str(error).splitlines()
        text = told[0] if told and error is not short else short.strerror or "nothing left"
        return OutOfMemory(f"out of memory: {text}") if short.errno == errno.ENOMEM else OSError(short.errno, text)
    if isinstance(error, OSError) and type(error).__module__ != "builtins":
        return OSError(error.errno, error.strerror) if error.errno and error.strerror else OSError(str(error))
    if isinstance(error, (IndexdError, OSError)):
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return IndexdError(str(error))
        return error
    # By name, because torch is not imported here (torch.OutOfMemoryError, torch.cuda.OutOfMemoryError).
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OutOfMemory(f"out of memory: {str(error).splitlines()[0] if str(error) else 'no room on the device'}")
    if isinstance(error, KeyboardInterrupt):
        return CallCancelled("interrupted")
    return WorkerBug("".join(traceback.format_exception(error)).rstrip())


def _root_shortage(error: BaseException) -> OSError | None:
    """The OSError of that kind which led to `error`, or which it is."""
    seen: list[BaseException] = []
    while error not in seen:
        if isinstance(error, OSError) and is_resource_shortage(error):
            return error
        seen.append(error)
        error = error.__cause__ or (error if error.__suppress_context__ else error.__context__) or error
    return None
