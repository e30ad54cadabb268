"""Validates requests before they reach a daemon or a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from indexd.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

RequestT = TypeVar("RequestT", bound="BaseModel")


def validated(model: type[RequestT], **given: object) -> RequestT:
    """The request. Raises UsageError for the first invalid field or filter."""
    from pydantic import ValidationError

    filters = given.get("filters")
    if isinstance(filters, tuple) and filters:
        from indexd.search.query.filter_language import parse_filters

        parse_filters(filters)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
