"""Runs a model in a worker for one result: a control map, or a check that the model of a role works."""

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
    """The control map of an image. Raises UsageError for an invalid request, ModelUnavailable, or what the worker raised."""
    path = parse_target(request.image).path
    if path is None:
        raise UsageError("a control map needs an image at a path; write path:<absolute path>")
    try:
        kind = find_control_type(request.type)
    except UnknownControlType as error:
        raise UsageError(str(error)) from None
    if kind.preprocessor is None:
        made = ", ".join(one.name for one in CONTROL_TYPES.values() if one.preprocessor)
        raise UsageError(f"indexd has no preprocessor for {kind.name}; it has preprocessors for {made}")
    if (request.width is None) != (request.height is None):
        raise UsageError("give width and height together")
    if request.low > request.high:
        raise UsageError(f"low must be at most high (got {request.low} and {request.high})")
    size = None if request.width is None or request.height is None else (request.width, request.height)
    began = time.perf_counter()
    result = workers.submit(
        MakeControlMap(path, kind.name, size, request.low, request.high), priority=Priority.URGENT
    ).result(None)
    if not isinstance(result, ControlMapMade):
        raise IndexdError("the worker returned no control map")
    return MadeControlMap(
        path=result.path,
        type=kind.name,
        method=result.method,
        width=result.width,
        height=result.height,
        cached=result.cached,
        seconds=round(time.perf_counter() - began, 3),
    )


def verify_model(config: Config, workers: WorkerBackend, role: str) -> VerifiedModel:
    """Load the model of `role` and run it once. Raises ModelUnavailable, or what the worker raised."""
    require_role(config, role)
    began = time.perf_counter()
    result = workers.submit(VerifyModel(role), priority=Priority.JOB).result(None)
    if not isinstance(result, ModelVerified):
        raise IndexdError(f"the worker returned no result for {role}")
    seconds = round(time.perf_counter() - began, 3)
    return VerifiedModel(role=role, ok=True, detail=result.detail, identity=result.identity, seconds=seconds)
