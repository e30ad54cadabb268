"""The registry of operations: one decorated function is the local call, the client's request, the HTTP route and the docs.

    @operation("POST", "/v1/rating")
    def rate(context: OperationContext, request: RateRequest) -> AnnotateReport:
        \"\"\"Rate images 1 to 5; 0 removes the rating.\"\"\"

`operations.call(rate, RateRequest(...))` then runs it, in this process or in the daemon. The request and response types come
from the annotations, the summary from the docstring. The modules of this package import nothing heavy at module level:
the client imports them for every command.
"""

from __future__ import annotations

import dis
import importlib
import inspect
import json
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Literal, TypeVar, get_origin, get_type_hints, overload
from urllib.parse import quote, urlencode

from pydantic import ValidationError

from indexd import errors
from indexd.api.context import OperationContext
from indexd_schemas.api.requests import ApiRequest, NoParameters
from indexd_schemas.validation_messages import describe_first_error

Method = Literal["GET", "POST"]
RequestT = TypeVar("RequestT", bound=ApiRequest)
ResponseT = TypeVar("ResponseT")

# The first search after an idle night may load a model from a slow disk.
ANSWER_SECONDS = 900.0
NO_PARAMETERS = NoParameters.model_construct()


class Access(Enum):
    """Who may call an operation over TCP; a Unix socket is open to its owner alone, and asks nothing."""

    TOKEN = "token"
    """Whoever sends the bearer token."""
    LOOPBACK = "loopback"
    """Any program on this machine; from elsewhere, whoever sends the bearer token."""


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Generic[RequestT, ResponseT]):
    """One operation. `run` carries it out in this process; `timeout_seconds` is how long a client waits (None = for ever).

    `media_type` is that of the response; a response that is neither a document nor text brings its own.
    `status` gives the HTTP status of a response. `needs_index` is False for what the HTTP server answers by itself.
    """

    name: str
    method: Method
    path: str
    summary: str
    access: Access
    request_type: type[RequestT]
    response_type: type[ResponseT]
    run: Callable[[OperationContext, RequestT], ResponseT]
    timeout_seconds: float | None
    media_type: str
    status: Callable[[ResponseT], int]
    needs_index: bool

    @property
    def path_parameters(self) -> list[str]:
        """The names in braces of the path; they are fields of the request."""
        return [part.partition("}")[0] for part in self.path.split("{")[1:]]

    def encode(self, request: RequestT) -> tuple[str, bytes | None]:
        """The HTTP target and the body of a request."""
        given = request.model_dump(mode="json", exclude_defaults=self.method == "GET")
        path = self.path
        for name in self.path_parameters:
            path = path.replace(f"{{{name}}}", quote(str(given.pop(name)), safe=""))
        if self.method != "GET":
            return path, json.dumps(given).encode()
        return (f"{path}?{urlencode(given, doseq=True)}" if given else path), None

    def decode(self, path: Mapping[str, str], query: Iterable[tuple[str, str]], body: bytes) -> RequestT:
        """The request that `encode` wrote. Raises UsageError."""
        given: dict[str, Any] = {}
        if self.method == "GET":
            for name, value in query:
                if name in self.request_type.model_fields and self._is_list(name):
                    given.setdefault(name, []).append(value)
                else:
                    given[name] = value
        elif body:
            try:
                given = json.loads(body)
            except (ValueError, RecursionError):
                raise errors.UsageError("the body is not valid JSON in UTF-8") from None
            if not isinstance(given, dict):
                raise errors.UsageError("the body must be a JSON object")
        return validated_request(self.request_type, {**given, **path})

    def _is_list(self, name: str) -> bool:
        return get_origin(self.request_type.model_fields[name].annotation) in (tuple, list)


def validated_request(model: type[RequestT], given: Mapping[str, Any]) -> RequestT:
    """The request. Raises UsageError that names the first wrong field."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise errors.UsageError(describe_first_error(error)) from None


class Operations(ABC):
    """Carries operations out, in this process or by the daemon."""

    @overload
    def call(self, operation: Operation[NoParameters, ResponseT]) -> ResponseT: ...

    @overload
    def call(self, operation: Operation[RequestT, ResponseT], request: RequestT) -> ResponseT: ...

    def call(self, operation: Operation[Any, ResponseT], request: ApiRequest = NO_PARAMETERS) -> ResponseT:
        """The response. Raises IndexdError with a sentence: NothingFound, UsageError, DaemonNotRunning, StoreError, …"""
        return self.carry_out(operation, request)

    @abstractmethod
    def carry_out(self, operation: Operation[Any, ResponseT], request: ApiRequest) -> ResponseT:
        """See `call`."""

    @abstractmethod
    def close(self) -> None:
        """Release what was opened for these operations."""


_registered: dict[str, Operation[Any, Any]] = {}


def operation(
    method: Method,
    path: str,
    *,
    access: Access = Access.TOKEN,
    timeout_seconds: float | None = ANSWER_SECONDS,
    media_type: str = "application/json",
    status: Callable[[Any], int] = lambda _: 200,
    needs_index: bool = True,
) -> Callable[[Callable[[OperationContext, RequestT], ResponseT]], Operation[RequestT, ResponseT]]:
    """Registers a function (context, request) as an operation. Raises ValueError when its name or path is taken."""

    def register(function: Callable[[OperationContext, RequestT], ResponseT]) -> Operation[RequestT, ResponseT]:
        types = get_type_hints(function)
        request_name = list(inspect.signature(function).parameters)[1]
        declared = Operation(
            name=function.__name__,
            method=method,
            path=path,
            summary=(inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " "),
            access=access,
            request_type=types[request_name],
            response_type=types["return"],
            run=function,
            timeout_seconds=timeout_seconds,
            media_type=media_type,
            status=status,
            needs_index=needs_index,
        )
        if not declared.summary:
            raise ValueError(f"the operation {declared.name} has no docstring")
        taken = [one.name for one in _registered.values() if (one.method, one.path) == (method, path)]
        if taken or declared.name in _registered:
            raise ValueError(f"the operation {declared.name} ({method} {path}) is registered already: {taken}")
        _registered[declared.name] = declared
        return declared

    return register


def all_operations() -> list[Operation[Any, Any]]:
    """Every operation of every module of this package, by path."""
    package = importlib.import_module(__package__ or "")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return sorted(_registered.values(), key=lambda one: (one.path, one.method))


def load_implementations() -> None:
    """Import what operations import when they are called, so that the daemon's first requests do not wait for it."""
    for module in {sys.modules[one.run.__module__] for one in all_operations()}:
        functions = [one.run if isinstance(one, Operation) else one for one in vars(module).values()]
        for function in filter(inspect.isfunction, functions):
            for instruction in dis.get_instructions(function):
                if instruction.opname == "IMPORT_NAME":
                    imported = importlib.import_module(instruction.argval)
                elif instruction.opname == "IMPORT_FROM" and not hasattr(imported, instruction.argval):
                    importlib.import_module(f"{imported.__name__}.{instruction.argval}")
