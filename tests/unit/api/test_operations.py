"""One decorated function is the local call, the client's request, the HTTP route, the OpenAPI entry and the line in the docs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import Field

from indexd.api.client import RemoteOperations
from indexd.api.connect import find_daemon
from indexd.api.context import OperationContext
from indexd.api.event_stream import EventStream
from indexd.api.http.openapi import openapi_json, operations_table
from indexd.api.http.server import ApiServer
from indexd.api.image_bytes import ImageBytes
from indexd.api.local import LocalOperations
from indexd.api.operations import registry
from indexd.api.operations.registry import NO_PARAMETERS, Operation, all_operations, operation
from indexd.config import Config, read_config
from indexd.errors import UsageError
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.output import OutputDocument
from indexd_schemas.api.requests import ApiRequest, NoParameters


class ToyRequest(ApiRequest):
    """A word in the path, and what to do with it."""

    word: str
    times: int = Field(1, ge=1, le=5)
    suffixes: tuple[str, ...] = ()


class ToyResult(OutputDocument):
    """The words, and how many images the index has."""

    words: list[str]
    images: int


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Operation[ToyRequest, ToyResult]:
    # Every module is loaded first: what registers now goes into the copy, and is gone after the test.
    all_operations()
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))

    @operation("GET", "/v1/toys/{word}/repeated")
    def repeat(context: OperationContext, request: ToyRequest) -> ToyResult:
        """Repeat a word.

        This is not part of the summary.
        """
        words = [request.word] * request.times
        return ToyResult(words=[*words, *request.suffixes], images=context.store.images.count())

    return repeat


@pytest.fixture
def config(short_home: Path) -> Config:
    return read_config(short_home)


@pytest.fixture
def local(config: Config) -> Iterator[LocalOperations]:
    with SqliteStore.open(config.paths.index) as store:
        yield LocalOperations(config, store)


@pytest.fixture
def remote(config: Config, local: LocalOperations, toy: Operation[ToyRequest, ToyResult]) -> Iterator[RemoteOperations]:
    server = ApiServer(config, local)
    server.start()
    found = find_daemon(config)
    assert found is not None
    yield found
    server.stop()


def test_adding_an_operation_is_one_function(
    toy: Operation[ToyRequest, ToyResult], local: LocalOperations, remote: RemoteOperations
) -> None:
    request = ToyRequest(word="a&ä?", times=2, suffixes=("x", "y z"))
    expected = ToyResult(words=["a&ä?", "a&ä?", "x", "y z"], images=0)
    assert local.call(toy, request) == expected
    assert remote.call(toy, request) == expected

    document = json.loads(openapi_json(all_operations()))
    described = document["paths"]["/v1/toys/{word}/repeated"]["get"]
    assert (described["operationId"], described["summary"]) == ("repeat", "Repeat a word.")
    parameters = {one["name"]: (one["in"], one["required"]) for one in described["parameters"]}
    assert parameters == {"word": ("path", True), "times": ("query", False), "suffixes": ("query", False)}
    assert document["components"]["schemas"]["ToyResult"]["properties"]["words"]["type"] == "array"

    line = "| `GET /v1/toys/{word}/repeated` | `word`, [`times`], [`suffixes`] | `ToyResult` | Repeat a word. |\n"
    assert line in operations_table(all_operations())


def test_the_served_openapi_document_describes_every_operation(remote: RemoteOperations) -> None:
    fetch = Operation(
        "fetch",
        "GET",
        "/v1/openapi.json",
        "",
        registry.Access.TOKEN,
        NoParameters,
        str,
        lambda *_: "",
        9,
        "",
        len,
        True,
    )
    document = json.loads(remote.call(fetch, NO_PARAMETERS))
    assert document["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(one.method, one.path) for one in all_operations()}
    references = {part.split('"')[0] for part in json.dumps(document).split('"#/components/schemas/')[1:]}
    assert references <= set(document["components"]["schemas"])


@pytest.mark.parametrize(
    ("target", "part"), [("/v1/toys/a/repeated?times=9", "times"), ("/v1/toys/a/repeated?colour=1", "colour")]
)
def test_a_wrong_parameter_is_refused_by_name(
    toy: Operation[ToyRequest, ToyResult], remote: RemoteOperations, target: str, part: str
) -> None:
    status, _, content = remote._exchange("GET", target, None, 20)
    assert (status, part in json.loads(content)["text"]) == (400, True)


def test_every_operation_has_types_that_http_can_carry() -> None:
    for one in all_operations():
        assert set(one.path_parameters) <= set(one.request_type.model_fields)
        assert issubclass(one.response_type, OutputDocument | ImageBytes | EventStream | str)


def test_a_second_operation_of_one_path_or_name_is_refused(toy: Operation[ToyRequest, ToyResult]) -> None:
    def repeat(_context: OperationContext, _request: NoParameters) -> ToyResult:
        """Repeat nothing."""
        raise AssertionError

    def other(_context: OperationContext, _request: NoParameters) -> ToyResult:
        """Do something else."""
        raise AssertionError

    def undocumented(_context: OperationContext, _request: NoParameters) -> ToyResult:
        raise AssertionError

    before = all_operations()
    for path, function in (
        ("/v1/other", repeat),
        ("/v1/toys/{word}/repeated", other),
        ("/v1/undocumented", undocumented),
    ):
        with pytest.raises(ValueError, match="operation"):
            operation("GET", path)(function)
    assert all_operations() == before


def test_a_request_that_is_no_json_object_is_refused() -> None:
    rate = next(one for one in all_operations() if one.name == "rate")
    for body in (b"[]", b"1", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(UsageError, match="the body"):
            rate.decode({}, [], body)
