"""The filter `path:`: part of a path, or a pattern of a whole one. One that names a folder is answered from an index."""

from __future__ import annotations

import os
import re
import string

from indexd.name_key import composed
from indexd.store.records import Filter
from indexd.store.sqlite.adapters import searchable_path, utf8_text
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.filters.condition_builders import NO_MATCH, Condition

# What SQLite's LIKE and its NOCASE hold equal: the ASCII letters, and no others.
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD7FF, 0xE000)


def path_condition(connection: Connection, wanted: Filter) -> Condition:
    """With `*`: the whole absolute path, or the path below its root, with the root's own name before it or without.

    Without: any part of the absolute path.
    """
    value = composed(utf8_text(wanted.value or "")).replace(os.sep, "/")
    # SQLite's LIKE ends a pattern at a NUL, and no path holds one.
    if not value or "\0" in value:
        return NO_MATCH
    like = re.sub(r"([\\%_])", r"\\\1", value).replace("*", "%")
    pattern = like if "*" in value else f"%{like}%"
    beginning = value.partition("*")[0].translate(_ASCII_LOWER) if "*" in value else ""
    places: list[Condition] = []
    for root_id, root in connection.execute("SELECT id, path FROM root").fetchall():
        prefix = searchable_path(root).replace(os.sep, "/").rstrip("/") + "/"
        places.append(_files_like(root_id, "? || display", (prefix, pattern), _remaining_prefix(beginning, prefix)))
        # What begins with % and fits the path below the root fits the whole path as well.
        if not pattern.startswith("%"):
            places.append(_files_like(root_id, "display", (pattern,), beginning))
            # People write the folder that they see before the one inside: `output/june/*`, where output is watched itself.
            named = prefix[prefix[:-1].rfind("/") + 1 :]
            # Only by the whole name: `out*` is for files that begin so, and not for all of output.
            if named != "/" and beginning.startswith(named.translate(_ASCII_LOWER)):
                places.append(
                    _files_like(root_id, "? || display", (named, pattern), _remaining_prefix(beginning, named))
                )
    selects = [f"SELECT image_id FROM {sql}" for sql, _ in places if sql != NO_MATCH[0]]
    bound = tuple(value for _, values in places for value in values)
    return (f"image.id IN ({' UNION ALL '.join(selects)})", bound) if selects else NO_MATCH


def _remaining_prefix(beginning: str, prefix: str) -> str | None:
    """What paths below a root must begin with for the whole one to begin so; None where none does."""
    folded = prefix.translate(_ASCII_LOWER)
    if beginning.startswith(folded):
        return beginning[len(folded) :]
    return "" if folded.startswith(beginning) else None


def _files_like(root_id: int, what: str, bound: tuple[str, ...], beginning: str | None) -> Condition:
    """The files of a root whose path, as `what` has it, is like the pattern: what stands behind FROM."""
    if beginning is None:
        return NO_MATCH
    like = rf"{what} LIKE ? ESCAPE '\'"
    if not beginning:
        # Nearly every row is of some root. In the order of the table the ids rise; in that of an index they cost twice as long.
        return f"file NOT INDEXED WHERE root_id = ? AND {like}", (root_id, *bound)
    end = _prefix_successor(beginning)
    upto = "AND display < ? COLLATE NOCASE" if end else ""
    return (
        f"file WHERE root_id = ? AND display >= ? COLLATE NOCASE {upto} AND {like}",
        (root_id, beginning, *((end,) if end else ()), *bound),
    )


def _prefix_successor(beginning: str) -> str | None:
    """The first text behind all that begin so, by code points; None where that is not simply the next character."""
    last = ord(beginning[-1])
    if last == _LAST_CHARACTER or last in _SURROGATES:
        return None
    return beginning[:-1] + chr(last + 1)
