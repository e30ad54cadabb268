"""Making a control map through a worker."""

from __future__ import annotations

import time

from indexd.errors import IndexdError, UsageError
from indexd.search.targets import parse_target
from indexd.worker.calls import ControlMapMade, MakeControlMap, Priority
from indexd.worker.handle import WorkerBackend
from indexd_schemas.control import CONTROL_TYPES, UnknownControlType, find_control_type
from indexd_schemas.question import ControlMapRequest
from indexd_schemas.replies import MadeControlMap


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
