"""Trying a model out through a worker."""

from __future__ import annotations

import time

from indexd.config import Config
from indexd.errors import IndexdError
from indexd.roles import need
from indexd.worker.calls import Priority, Verified, VerifyModel
from indexd.worker.handle import Submits
from indexd_schemas.replies import VerifiedModel


def verify_model(config: Config, workers: Submits, role: str) -> VerifiedModel:
    """Load the model of `role` and run it once. Raises ModelOff, or what the worker raised."""
    need(config, role)
    began = time.perf_counter()
    answer = workers.submit(VerifyModel(role), priority=Priority.JOB).result(None)
    if not isinstance(answer, Verified):
        raise IndexdError(f"the worker gave no answer about {role}")
    seconds = round(time.perf_counter() - began, 3)
    return VerifiedModel(role=role, ok=True, detail=answer.detail, identity=answer.identity, seconds=seconds)
