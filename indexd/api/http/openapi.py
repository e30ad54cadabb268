"""Documents made from the registered operations: the OpenAPI description and the table of docs/api.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from indexd.api.event_stream import EventStream
from indexd.api.image_bytes import ImageBytes
from indexd.api.operations.registry import Access, Operation
from indexd_schemas.api.responses import ErrorResponse

_Mode = Literal["validation", "serialization"]


def openapi_json(operations: Sequence[Operation[Any, Any]]) -> bytes:
    """The OpenAPI 3.1 document."""
    models: dict[tuple[type[BaseModel], _Mode], None] = {(ErrorResponse, "serialization"): None}
    for operation in operations:
        models[operation.request_type, "validation"] = None
        if _is_document(operation.response_type):
            models[operation.response_type, "serialization"] = None
    references, definitions = models_json_schema(list(models), ref_template="#/components/schemas/{model}")
    schemas = definitions.get("$defs", {})
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        request = schemas[references[operation.request_type, "validation"]["$ref"].rpartition("/")[2]]
        response = (
            references[operation.response_type, "serialization"] if _is_document(operation.response_type) else None
        )
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(
            operation, request, response, references[ErrorResponse, "serialization"]
        )
    document = {
        "openapi": "3.1.0",
        "info": {"title": "indexd", "version": version("indexd")},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }
    return json.dumps(document).encode()


def _describe(
    operation: Operation[Any, Any], request: dict[str, Any], response: dict[str, Any] | None, error: dict[str, Any]
) -> dict[str, Any]:
    fields = request.get("properties", {})
    parameters = operation.path_parameters
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            {"name": name, "in": "path" if name in parameters else "query", "required": _is_required(request, name)}
            | {"schema": schema}
            for name, schema in fields.items()
            if operation.method == "GET" or name in parameters
        ],
        "responses": {
            "200": {"description": "OK", "content": {_media_type(operation): {"schema": response} if response else {}}},
            "default": {"description": "An error.", "content": {"application/json": {"schema": error}}},
        },
    }
    body = {name: schema for name, schema in fields.items() if name not in parameters}
    if operation.method == "POST" and body:
        schema = {
            **request,
            "properties": body,
            "required": [name for name in request.get("required", []) if name in body],
        }
        described["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    if operation.access is Access.TOKEN:
        described["security"] = [{"token": []}, {}]
    return described


def _is_required(request: dict[str, Any], name: str) -> bool:
    return name in request.get("required", [])


def _is_document(response_type: type[object]) -> bool:
    return issubclass(response_type, BaseModel)


def _media_type(operation: Operation[Any, Any]) -> str:
    return "image/*" if operation.response_type is ImageBytes else operation.media_type


def operations_table(operations: Iterable[Operation[Any, Any]]) -> str:
    """The Markdown table of docs/api.md."""
    lines = ["| operation | parameters | response | |", "|---|---|---|---|"]
    for operation in operations:
        fields = ", ".join(
            f"`{name}`" if field.is_required() else f"[`{name}`]"
            for name, field in operation.request_type.model_fields.items()
        )
        response = {ImageBytes: "the image", EventStream: "`ChangeEvent` stream", str: "text"}.get(
            operation.response_type, f"`{operation.response_type.__name__}`"
        )
        lines.append(f"| `{operation.method} {operation.path}` | {fields} | {response} | {operation.summary} |")
    return "\n".join(lines) + "\n"
