"""What a command asks, checked before a daemon or a model is bothered with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from indexd.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

Asked = TypeVar("Asked", bound="BaseModel")


def checked(model: type[Asked], **given: object) -> Asked:
    """The request. Raises UsageError with the first thing that is wrong with it, or with its `filters`."""
    from pydantic import ValidationError

    filters = given.get("filters")
    if isinstance(filters, tuple) and filters:
        from indexd.search.language import parse

        parse(filters)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
