"""Serves SelfTest calls, which need no model."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from indexd.worker.calls import SelfTest
from indexd.worker.session import CallSession


def run_self_test(call: SelfTest, session: CallSession) -> Any:
    """Do what `call.action` says, and return its payload."""
    if call.action == "fail":
        raise ValueError(f"told to fail: {call.payload}")
    if call.action == "die":
        os._exit(23)
    if call.action == "hang":
        session.progress("hang", 0, 1)
        threading.Event().wait()
    for step in range(call.steps if call.action == "steps" else 0):
        session.poll()
        time.sleep(call.seconds)
        session.progress("steps", step + 1, call.steps)
    return call.payload
