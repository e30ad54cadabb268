"""JSON Schema of parts of a job file that accept a shorter form."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic_core import CoreSchema

TEXT_SCHEMA = {"type": "string", "minLength": 1}


class Shorthand:
    """Annotation: the model, or one of the short forms that its validator accepts.

    Unlike WithJsonSchema, it builds the model's schema only on request. The daemon never requests one.
    """

    def __init__(self, part: type[BaseModel], *short_forms: dict[str, Any]) -> None:
        self._part = part
        self._short_forms = short_forms

    def json_schema(self) -> dict[str, Any]:
        """All forms; the full model comes last."""
        return {"anyOf": [*self._short_forms, self._part.model_json_schema()]}

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.json_schema()


class ListShorthand(Shorthand):
    """Annotation: a list of at most `max_items`, each the model or a short form of it."""

    def __init__(self, part: type[BaseModel], *short_forms: dict[str, Any], max_items: int) -> None:
        super().__init__(part, *short_forms)
        self._max_items = max_items

    def json_schema(self) -> dict[str, Any]:
        """The list with its item schema."""
        return {"type": "array", "maxItems": self._max_items, "items": super().json_schema()}
