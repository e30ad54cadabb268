"""Validates requests before they reach a daemon or a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from indexd_schemas.api.requests import ApiRequest

RequestT = TypeVar("RequestT", bound="ApiRequest")


def validated(model: type[RequestT], **given: object) -> RequestT:
    """The request. Raises UsageError for the first invalid field or filter."""
    from indexd.api.operations.registry import validated_request

    filters = given.get("filters")
    if isinstance(filters, tuple) and filters:
        from indexd.search.query.filter_language import parse_filters

        parse_filters(filters)
    return validated_request(model, given)
