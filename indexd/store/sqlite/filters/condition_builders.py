"""What conditions are put together from: names that match a pattern, ends of a range, lists of values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from indexd.name_key import name_key
from indexd.store.records import Filter
from indexd.store.sqlite.adapters import utf8_text
from indexd.store.sqlite.database import Connection

Condition = tuple[str, tuple[str | int | float, ...]]
"""SQL on `image`, and what is bound in it."""
NO_MATCH: Condition = ("0", ())
ALWAYS: Condition = ("1", ())


def compile_pattern(value: str) -> Callable[[str], bool]:
    """A test for texts: equal without case and Unicode form, `*` stands for anything."""
    parts = (re.escape(part) for part in name_key(value).split("*"))
    compiled = re.compile(".*".join(parts), re.DOTALL)
    return lambda text: compiled.fullmatch(name_key(text)) is not None


def matching_names(names: Iterable[str], value: str | None, spellings: Callable[[str], Iterable[str]]) -> list[str]:
    """Those of the names that fit the pattern `value` in one of their spellings."""
    matches = compile_pattern(utf8_text(value or ""))
    return [name for name in names if any(matches(spelling) for spelling in spellings(name))]


def single_spelling(name: str) -> Iterable[str]:
    """A name that is only written as it is."""
    return (name,)


def distinct_values(connection: Connection, table: str, column: str) -> list[str]:
    """The distinct values of an indexed column: one step in the index for each, instead of a walk over all rows."""
    rows = connection.execute(
        f"""
        WITH RECURSIVE found (value) AS (
            SELECT min({table}.{column}) FROM {table} WHERE {table}.{column} IS NOT NULL
            UNION ALL
            SELECT (SELECT min({table}.{column}) FROM {table} WHERE {table}.{column} > found.value)
            FROM found WHERE found.value IS NOT NULL
        )
        SELECT value FROM found WHERE value IS NOT NULL
        """
    )
    return [name for (name,) in rows]


def number_within(column: str, wanted: Filter) -> Condition:
    """A column between the ends of the filter, both included; NOTHING when they are no numbers."""
    low, high = range_ends(wanted)
    try:
        ends = [(sign, float(end)) for sign, end in ((">=", low), ("<=", high)) if end is not None]
    except ValueError:
        return NO_MATCH
    return and_clauses((f"{column} {sign} ?", end) for sign, end in ends)


def in_list(what: str, names: list[str] | list[int], closing: str = "") -> Condition:
    """`what` is one of these names or ids, `closing` behind it."""
    return (f"{what} IN (SELECT value FROM json_each(?)){closing}", (json.dumps(names),)) if names else NO_MATCH


def id_subquery(sql: str) -> str | None:
    """The statement whose `image_id` are all that meet a condition, where the condition is nothing but a list of them."""
    start, end = "(image.id IN (", "))"
    if not sql.startswith(f"{start}SELECT image_id FROM ") or not sql.endswith(end):
        return None
    inner = sql[len(start) : -len(end)]
    depth = 0
    for sign in inner:
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            return None
    return inner


def range_ends(wanted: Filter) -> tuple[str | None, str | None]:
    """The lower and the upper end, None where it is open."""
    return (wanted.value, wanted.value) if wanted.op == "=" else (wanted.low, wanted.high)


def and_clauses(clauses: Iterable[tuple[str, float]]) -> Condition:
    """All of these conditions with one value each; NOTHING when there are none."""
    listed = list(clauses)
    return (" AND ".join(sql for sql, _ in listed), tuple(end for _, end in listed)) if listed else NO_MATCH
