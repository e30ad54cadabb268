"""The paths of the local door: each reads its request, carries out one operation, and answers with its document."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indexd.api.metrics import PROMETHEUS_CONTENT_TYPE
from indexd.api.operations.protocol import Operations
from indexd.errors import DaemonNotRunning, IndexdError, JobRefused, NothingFound, UsageError
from indexd.search.query.image_target import parse_target
from indexd_schemas.api.annotations import (
    AnnotateMatchingRequest,
    ExportRequest,
    ForgetRequest,
    ImportRequest,
    NoteRequest,
    RelocateRequest,
)
from indexd_schemas.api.characters import (
    CharacterListRequest,
    CharacterRequest,
    ClusterRequest,
    CorrectionRequest,
    SampleRequest,
)
from indexd_schemas.api.library_reports import DuplicatesRequest, StatsRequest
from indexd_schemas.api.requests import (
    ControlMapRequest,
    RateRequest,
    ReparseRequest,
    ScanRequest,
    SearchRequest,
    SubmitRequest,
    TagRequest,
)
from indexd_schemas.api.responses import ErrorResponse, Health

log = logging.getLogger(__name__)

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RawResponse:
    """An answer that is no JSON document, or has a status of its own."""

    content: bytes
    media_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Operations, Mapping[str, str], bytes], BaseModel | RawResponse]

_STATUS: tuple[tuple[type[IndexdError], int], ...] = (
    (UsageError, 400),
    (NothingFound, 404),
    (JobRefused, 422),
    (DaemonNotRunning, 503),
)


def _query(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.query(_parsed(SearchRequest, body))


def _show(operations: Operations, given: Mapping[str, str], _body: bytes) -> BaseModel:
    return operations.show(parse_target(_wanted(given, "target")))


def _explain(operations: Operations, given: Mapping[str, str], _body: bytes) -> BaseModel:
    path = parse_target(_wanted(given, "target")).path
    if path is None:
        raise UsageError("only a path can be explained")
    return operations.explain(path)


def _status(operations: Operations, _given: Mapping[str, str], _body: bytes) -> BaseModel:
    return operations.status()


def _ready(operations: Operations, _given: Mapping[str, str], _body: bytes) -> RawResponse:
    found = operations.ready()
    return RawResponse(found.model_dump_json().encode(), status=200 if found.ready else 503)


def _metrics(operations: Operations, _given: Mapping[str, str], _body: bytes) -> RawResponse:
    return RawResponse(operations.metrics().encode(), PROMETHEUS_CONTENT_TYPE)


def _thumbnail(operations: Operations, given: Mapping[str, str], _body: bytes) -> RawResponse:
    return _picture(operations, given, small=True)


def _file(operations: Operations, given: Mapping[str, str], _body: bytes) -> RawResponse:
    return _picture(operations, given, small=False)


def _picture(operations: Operations, given: Mapping[str, str], *, small: bool) -> RawResponse:
    image_id = parse_target(f"id:{given['id']}").image_id
    assert image_id is not None
    found = operations.picture(image_id, small=small)
    # RFC 6266, RFC 5987: percent-encoded, so that no name can end the header or begin another.
    return RawResponse(
        found.data,
        found.media_type,
        headers={"content-disposition": f"inline; filename*=UTF-8''{quote(found.name, safe='')}"},
    )


def _scan(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.scan(_parsed(ScanRequest, body).wait)


def _submit(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    request = _parsed(SubmitRequest, body)
    return operations.submit(request.source.encode(), request.name)


def _jobs(operations: Operations, given: Mapping[str, str], _body: bytes) -> BaseModel:
    return operations.jobs([state for state in given.get("states", "").split(",") if state], _limit(given))


def _job(operations: Operations, given: Mapping[str, str], _body: bytes) -> BaseModel:
    return operations.job(_wanted(given, "which"))


def _cancel(operations: Operations, given: Mapping[str, str], _body: bytes) -> BaseModel:
    return operations.cancel_job(_wanted(given, "which"))


def _retry(operations: Operations, given: Mapping[str, str], _body: bytes) -> BaseModel:
    return operations.retry_job(_wanted(given, "which"))


def _rate(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    request = _parsed(RateRequest, body)
    return operations.rate([parse_target(text) for text in request.targets], request.rating)


def _tag(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    request = _parsed(TagRequest, body)
    return operations.tag([parse_target(text) for text in request.targets], request.add, request.remove)


def _note(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    request = _parsed(NoteRequest, body)
    return operations.note([parse_target(text) for text in request.targets], request.text, request.append)


def _mark_matching(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.mark_matching(_parsed(AnnotateMatchingRequest, body))


def _export_page(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.export_page(_parsed(ExportRequest, body))


def _import_marks(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.import_marks(_parsed(ImportRequest, body))


def _relocate(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.relocate(_parsed(RelocateRequest, body))


def _forget(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.forget(_parsed(ForgetRequest, body))


def _duplicates(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.duplicates(_parsed(DuplicatesRequest, body))


def _stats(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.stats(_parsed(StatsRequest, body))


def _characters(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.characters(_parsed(CharacterListRequest, body))


def _character(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.character(_parsed(CharacterRequest, body))


def _correct(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.correct(_parsed(CorrectionRequest, body))


def _corrections(operations: Operations, given: Mapping[str, str], _body: bytes) -> BaseModel:
    return operations.corrections(_limit(given))


def _suggest(operations: Operations, _given: Mapping[str, str], _body: bytes) -> BaseModel:
    return operations.suggest()


def _cluster(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.cluster(_parsed(ClusterRequest, body))


def _sample(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.sample(_parsed(SampleRequest, body))


def _verify(operations: Operations, given: Mapping[str, str], _body: bytes) -> BaseModel:
    return operations.verify_model(given["role"])


def _control(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    return operations.control_map(_parsed(ControlMapRequest, body))


def _reparse(operations: Operations, _given: Mapping[str, str], body: bytes) -> BaseModel:
    request = _parsed(ReparseRequest, body)
    return operations.reparse(request.after, request.limit, request.everything)


TABLE: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/ready", _ready),
    ("GET", "/metrics", _metrics),
    ("GET", "/v1/status", _status),
    ("GET", "/v1/images/{id}/thumbnail", _thumbnail),
    ("GET", "/v1/images/{id}/file", _file),
    ("POST", "/v1/query", _query),
    ("GET", "/v1/image", _show),
    ("GET", "/v1/explain", _explain),
    ("POST", "/v1/scan", _scan),
    ("GET", "/v1/jobs", _jobs),
    ("POST", "/v1/jobs", _submit),
    ("GET", "/v1/job", _job),
    ("POST", "/v1/job/cancel", _cancel),
    ("POST", "/v1/job/retry", _retry),
    ("POST", "/v1/rating", _rate),
    ("POST", "/v1/tags", _tag),
    ("POST", "/v1/notes", _note),
    ("POST", "/v1/marks/matching", _mark_matching),
    ("POST", "/v1/marks/export", _export_page),
    ("POST", "/v1/marks/import", _import_marks),
    ("POST", "/v1/relocate", _relocate),
    ("POST", "/v1/forget", _forget),
    ("POST", "/v1/duplicates", _duplicates),
    ("POST", "/v1/stats", _stats),
    ("POST", "/v1/characters/list", _characters),
    ("POST", "/v1/characters/show", _character),
    ("POST", "/v1/characters/correct", _correct),
    ("GET", "/v1/characters/corrections", _corrections),
    ("POST", "/v1/characters/suggest", _suggest),
    ("POST", "/v1/characters/cluster", _cluster),
    ("POST", "/v1/sample", _sample),
    ("POST", "/v1/models/{role}/verify", _verify),
    ("POST", "/v1/control", _control),
    ("POST", "/v1/reparse", _reparse),
)


def application(operations: Operations, pool: Executor) -> Starlette:
    """The routes as an ASGI application; operations block, so they run in `pool`."""
    routes = [Route(path, _endpoint(operations, handler, pool), methods=[method]) for method, path, handler in TABLE]
    routes.append(Route("/health", _health, methods=["GET"]))
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_such})


async def _health(_request: Request) -> Response:
    """Answered by the door itself: what hangs on the index or on a full pool is not asked."""
    return Response(Health().model_dump_json(), media_type="application/json")


async def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"there is no {request.method} {request.url.path[:200]} at this door; docs/api.md lists what there is"
    problem = ErrorResponse(kind="UsageError", text=text).model_dump_json()
    return Response(problem, error.status_code, error.headers, "application/json")


def _endpoint(operations: Operations, handler: Handler, pool: Executor) -> Callable[..., object]:
    async def endpoint(request: Request) -> Response:
        given = {**request.query_params, **request.path_params}
        body = await request.body()
        work = functools.partial(_carry_out, operations, handler, given, body)
        try:
            answer = await asyncio.get_running_loop().run_in_executor(pool, work)
        except asyncio.CancelledError:
            # The daemon stops and has waited long enough; who asked shall hear that, and no traceback is worth the log.
            text = "the daemon is stopping and did not finish this; ask again when it runs"
            answer = _problem(503, "DaemonNotRunning", text)
        return Response(answer.content, answer.status, answer.headers, answer.media_type)

    return endpoint


def _carry_out(operations: Operations, handler: Handler, given: Mapping[str, str], body: bytes) -> RawResponse:
    try:
        answer = handler(operations, given, body)
        return answer if isinstance(answer, RawResponse) else RawResponse(answer.model_dump_json().encode())
    except IndexdError as error:
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 409)
        return _problem(status, type(error).__name__, str(error))
    except Exception:
        log.exception("a bug while answering a request at the local door")
        text = "the daemon ran into a bug while answering; its log has the traceback"
        return _problem(500, "IndexdError", text)


def _problem(status: int, kind: str, text: str) -> RawResponse:
    return RawResponse(ErrorResponse(kind=kind, text=text).model_dump_json().encode(), status=status)


def _limit(given: Mapping[str, str]) -> int:
    limit = given.get("limit", "50")
    if not (limit.isascii() and limit.isdigit() and 0 < int(limit) <= 100_000):
        raise UsageError(f"limit must be a number from 1 to 100000 (got {limit!r})")
    return int(limit)


def _parsed(model: type[Body], body: bytes) -> Body:
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise UsageError(f"{where}: {first['msg']}") from None


def _wanted(given: Mapping[str, str], name: str) -> str:
    value = given.get(name, "")
    if not value:
        raise UsageError(f"the parameter {name!r} is missing")
    return value
