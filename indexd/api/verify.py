"""Trying a model out through a worker."""

from __future__ import annotations

import time

from indexd.config import Config
from indexd.errors import IndexdError
from indexd.roles import require_role
from indexd.worker.calls import ModelVerified, Priority, VerifyModel
from indexd.worker.handle import WorkerBackend
from indexd_schemas.replies import VerifiedModel


def verify_model(config: Config, workers: WorkerBackend, role: str) -> VerifiedModel:
    """Load the model of `role` and run it once. Raises ModelOff, or what the worker raised."""
    require_role(config, role)
    began = time.perf_counter()
    answer = workers.submit(VerifyModel(role), priority=Priority.JOB).result(None)
    if not isinstance(answer, ModelVerified):
        raise IndexdError(f"the worker gave no answer about {role}")
    seconds = round(time.perf_counter() - began, 3)
    return VerifiedModel(role=role, ok=True, detail=answer.detail, identity=answer.identity, seconds=seconds)
