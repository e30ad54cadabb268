"""Builds records from rows by column name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


class RowReader(Generic[Record]):
    """Selects the fields of a record and builds it from such a row.

    A field is the column of that name, or the SQL expression in `sql`. `convert` holds a function for columns that the
    record keeps as another type. Fields in `given` are not selected; `read` takes them as keywords.
    """

    def __init__(
        self,
        record: type[Record],
        *,
        sql: Mapping[str, str] | None = None,
        convert: Mapping[str, Callable[[Any], Any]] | None = None,
        given: Collection[str] = (),
    ) -> None:
        self._record = record
        self._names = tuple(field.name for field in fields(record) if field.name not in given)
        self._convert = dict(convert or {})
        self.columns = ", ".join((sql or {}).get(name, name) for name in self._names)
        """What to write after SELECT."""

    def read(self, row: Sequence[Any], **given: Any) -> Record:
        """The record of a row with these columns. Raises ValueError for another number of columns."""
        values = dict(zip(self._names, row, strict=True))
        for name, convert in self._convert.items():
            values[name] = convert(values[name])
        return self._record(**values, **given)
