"""HTTP routes: one per registered operation, grouped into routers by who may call them."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from indexd.api.event_buffer import BufferedEventStream
from indexd.api.http.openapi import openapi_json
from indexd.api.http.security import AccessPolicy, BearerToken, Loopback, Router
from indexd.api.http.sse import SseStreams
from indexd.api.image_bytes import ImageBytes
from indexd.api.operations.registry import Access, Operation, Operations
from indexd.errors import DaemonNotRunning, IndexdError, JobRefused, NothingFound, UsageError
from indexd_schemas.api.responses import ErrorResponse

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[IndexdError], int], ...] = (
    (UsageError, 400),
    (NothingFound, 404),
    (JobRefused, 422),
    (DaemonNotRunning, 503),
)


@dataclass(frozen=True, slots=True)
class RawResponse:
    """The parts of an HTTP response, without any of starlette's state."""

    content: bytes
    media_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def make_routers(
    operations: Operations,
    registered: Sequence[Operation[Any, Any]],
    pool: Executor,
    streams: SseStreams,
    token: str | None,
) -> list[Router]:
    """The routers of all operations; the last one also answers paths that do not exist. Operations block: they run in `pool`."""
    bearer = BearerToken(token)
    policies: dict[Access, AccessPolicy] = {Access.LOOPBACK: Loopback(otherwise=bearer), Access.TOKEN: bearer}
    by_access: dict[Access, list[BaseRoute]] = {access: [] for access in policies}
    for operation in registered:
        endpoint = _endpoint(operations, operation, pool, streams)
        by_access[operation.access].append(Route(operation.path, endpoint, methods=[operation.method]))
    by_access[Access.TOKEN].append(Route("/v1/openapi.json", _openapi_endpoint(registered, pool), methods=["GET"]))
    return [
        Router(policies[access], Starlette(routes=routes, exception_handlers={HTTPException: _not_found}))
        for access, routes in by_access.items()
    ]


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"there is no {request.method} {request.url.path[:200]}; docs/api.md lists the operations"
    answer = _error_response(error.status_code, "UsageError", text)
    return Response(answer.content, answer.status, error.headers, answer.media_type)


def _openapi_endpoint(registered: Sequence[Operation[Any, Any]], pool: Executor) -> Callable[..., object]:
    # Made at the first request: it takes a tenth of a second, and most daemons are never asked.
    document = functools.cache(functools.partial(openapi_json, registered))

    async def endpoint(_request: Request) -> Response:
        content = await asyncio.get_running_loop().run_in_executor(pool, document)
        return Response(content, media_type="application/json")

    return endpoint


def _endpoint(
    operations: Operations, operation: Operation[Any, Any], pool: Executor, streams: SseStreams
) -> Callable[..., object]:
    async def endpoint(request: Request) -> Response:
        query = request.query_params.multi_items()
        if "last-event-id" in request.headers and "last_event_id" in operation.request_type.model_fields:
            query.append(("last_event_id", request.headers["last-event-id"]))
        work = functools.partial(_carry_out, operations, operation, request.path_params, query, await request.body())
        try:
            if operation.needs_index:
                answer = await asyncio.get_running_loop().run_in_executor(pool, work)
            else:
                answer = work()
        except asyncio.CancelledError:
            # The daemon stops and the grace period is over. The client gets a sentence, the log no traceback.
            text = "the daemon is stopping and did not finish this request; repeat it when the daemon runs again"
            answer = _error_response(503, "DaemonNotRunning", text)
        if isinstance(answer, BufferedEventStream):
            if streams.is_full:
                answer = _error_response(503, "IndexdError", "too many event streams are open; close one of them")
            else:
                return StreamingResponse(streams.serve(answer), media_type=operation.media_type)
        return Response(answer.content, answer.status, answer.headers, answer.media_type)

    return endpoint


def _carry_out(
    operations: Operations,
    operation: Operation[Any, Any],
    path: Mapping[str, str],
    query: list[tuple[str, str]],
    body: bytes,
) -> RawResponse | BufferedEventStream:
    try:
        result = operations.call(operation, operation.decode(path, query, body))
        status = operation.status(result)
        if isinstance(result, ImageBytes):
            # RFC 6266, RFC 5987: percent-encoded, so that no file name can end the header or begin another.
            disposition = f"inline; filename*=UTF-8''{quote(result.name, safe='')}"
            return RawResponse(result.data, result.media_type, status, {"content-disposition": disposition})
        if isinstance(result, BufferedEventStream):
            return result
        content = result if isinstance(result, str) else result.model_dump_json()
        return RawResponse(content.encode(), operation.media_type, status)
    except IndexdError as error:
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 409)
        return _error_response(status, type(error).__name__, str(error))
    except Exception:
        log.exception("a bug in %s %s", operation.method, operation.path)
        return _error_response(
            500, "IndexdError", "the daemon ran into a bug while answering; its log has the traceback"
        )


def _error_response(status: int, kind: str, text: str) -> RawResponse:
    return RawResponse(ErrorResponse(kind=kind, text=text).model_dump_json().encode(), status=status)
