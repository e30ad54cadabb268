"""How a process ended, in words."""

from __future__ import annotations

import signal


def describe_exit(exit_code: int | None) -> str:
    """The end of the sentence "the worker …" for an exit code as `multiprocessing` gives it (negative = signal)."""
    if exit_code is None:
        return "is gone"
    if exit_code >= 0:
        return f"ended by itself with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = " (killed from outside; often the system had run out of memory)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
