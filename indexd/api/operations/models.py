"""Making a control map through a worker."""

from __future__ import annotations

import time

from indexd.config import Config
from indexd.errors import IndexdError, UsageError
from indexd.model_roles import require_role
from indexd.search.query.image_target import parse_target
from indexd.worker.call_handle import WorkerBackend
from indexd.worker.calls import ControlMapMade, MakeControlMap, ModelVerified, Priority, VerifyModel
from indexd_schemas.api.requests import ControlMapRequest
from indexd_schemas.api.responses import MadeControlMap, VerifiedModel
from indexd_schemas.control_types import CONTROL_TYPES, UnknownControlType, find_control_type


def control_map(workers: WorkerBackend, request: ControlMapRequest) -> MadeControlMap:
    """The map of a picture. Raises UsageError for what cannot be made, or what the worker raised."""
    path = parse_target(request.picture).path
    if path is None:
        raise UsageError("a control map is made of a picture at a path")
    try:
        kind = find_control_type(request.type)
    except UnknownControlType as error:
        raise UsageError(str(error)) from None
    if kind.preprocessor is None:
        made = ", ".join(one.name for one in CONTROL_TYPES.values() if one.preprocessor)
        raise UsageError(f"nothing here makes {kind.name} maps; there are {made}")
    if (request.width is None) != (request.height is None):
        raise UsageError("width and height are given together")
    if request.low > request.high:
        raise UsageError(f"the lower threshold must not be above the upper one ({request.low} and {request.high})")
    size = None if request.width is None or request.height is None else (request.width, request.height)
    began = time.perf_counter()
    answer = workers.submit(
        MakeControlMap(path, kind.name, size, request.low, request.high), priority=Priority.URGENT
    ).result(None)
    if not isinstance(answer, ControlMapMade):
        raise IndexdError("the worker gave no answer about the control map")
    return MadeControlMap(
        path=answer.path,
        type=kind.name,
        method=answer.method,
        width=answer.width,
        height=answer.height,
        cached=answer.cached,
        seconds=round(time.perf_counter() - began, 3),
    )


# Trying a model out through a worker.


def verify_model(config: Config, workers: WorkerBackend, role: str) -> VerifiedModel:
    """Load the model of `role` and run it once. Raises ModelOff, or what the worker raised."""
    require_role(config, role)
    began = time.perf_counter()
    answer = workers.submit(VerifyModel(role), priority=Priority.JOB).result(None)
    if not isinstance(answer, ModelVerified):
        raise IndexdError(f"the worker gave no answer about {role}")
    seconds = round(time.perf_counter() - began, 3)
    return VerifiedModel(role=role, ok=True, detail=answer.detail, identity=answer.identity, seconds=seconds)
