"""One filter into one SQL condition on `image`. The words of a filter are only ever bound, never written into the SQL.

Names (models, tags, …) are few while pictures are many: a name pattern is matched in Python against the distinct names,
with full Unicode case folding, and the index does the rest.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable

from indexd.store.database import Connection
from indexd.store.fulltext import match_expression
from indexd.store.records import Filter
from indexd.store.regions import faces_off_since
from indexd.store.revisions import FACE
from indexd.store.tags import with_ancestors
from indexd.store.values import canonical_seed, display, plain_text

Condition = tuple[str, tuple[str | int | float, ...]]
NOTHING: Condition = ("0", ())

_WHOLE = {"steps": "image.steps", "width": "image.width", "height": "image.height"}
_REAL = {"cfg": "image.cfg"}
_NAMES = {"sampler": "sampler", "schedule": "schedule", "generator": "generator", "model": "model_name"}
# The key of the filter language -> the name of the score.
_SCORES = {"clip_score": "clip", "aesthetic": "aesthetic", "sharpness": "sharpness"}
_STATED = {
    **{key: f"image.{column} IS NOT NULL" for key, column in _NAMES.items()},
    **{key: f"image.{key} IS NOT NULL" for key in ("seed", "steps", "cfg", "width", "height", "job")},
    "date": "1",
    "path": "EXISTS (SELECT 1 FROM file WHERE file.image_id = image.id)",
    "lora": "EXISTS (SELECT 1 FROM lora_use WHERE lora_use.image_id = image.id)",
    "tag": "EXISTS (SELECT 1 FROM tag WHERE tag.image_id = image.id)"
    " OR EXISTS (SELECT 1 FROM folder_tag WHERE folder_tag.image_id = image.id)",
    "note": "EXISTS (SELECT 1 FROM note WHERE note.image_id = image.id)",
    "rating": "EXISTS (SELECT 1 FROM rating WHERE rating.image_id = image.id)",
    "prompt": "image.id IN (SELECT image_id FROM image_text WHERE trim(prompt) <> '')",
    **{key: f"image.id IN (SELECT image_id FROM score WHERE score.name = '{name}')" for key, name in _SCORES.items()},
    "faces": f"image.id IN (SELECT image_id FROM region WHERE kind = '{FACE}')",
    "region": "EXISTS (SELECT 1 FROM region WHERE region.image_id = image.id)",
}
_MODEL_ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


def condition(connection: Connection, wanted: Filter) -> Condition:
    """The SQL condition of a filter. A value that cannot be met gives NOTHING; an unknown key raises ValueError."""
    if wanted.op == "has":
        if wanted.key not in _STATED:
            raise ValueError(f"nothing is known of the key {wanted.key!r}")
        plain: Condition = (_STATED[wanted.key], ())
    else:
        plain = _plain(connection, wanted)
    sql, bound = plain
    # IS NOT TRUE, so that what is not stated counts as "not that".
    return (f"(({sql}) IS NOT TRUE)", bound) if wanted.negate else (f"({sql})", bound)


def _plain(connection: Connection, wanted: Filter) -> Condition:
    key = wanted.key
    if key in _WHOLE:
        return _number(_WHOLE[key], wanted)
    if key in _REAL:
        return _number(_REAL[key], wanted)
    if key in _SCORES:
        sql, bound = _number("value", wanted)
        return (f"image.id IN (SELECT image_id FROM score WHERE name = ? AND {sql})", (_SCORES[key], *bound))
    if key in _NAMES:
        spell = _model_spellings if key == "model" else _as_is
        names = _matching(_distinct(connection, "image", _NAMES[key]), wanted.value, spell)
        return _in_list(f"image.{_NAMES[key]}", names)
    if key not in _SPECIAL:
        raise ValueError(f"nothing is known of the key {key!r}")
    return _SPECIAL[key](connection, wanted)


def _number(column: str, wanted: Filter) -> Condition:
    low, high = _ends(wanted)
    try:
        ends = [(sign, float(end)) for sign, end in ((">=", low), ("<=", high)) if end is not None]
    except ValueError:
        return NOTHING
    return _all((f"{column} {sign} ?", end) for sign, end in ends)


def _rating(_: Connection, wanted: Filter) -> Condition:
    # Unrated counts as 0, so that rating:0 finds what is still to be rated. Where it cannot be 0, the rated are enough.
    sql, bound = _number("value", wanted)
    if (_ends(wanted)[0] or "0") not in ("0", "0.0"):
        return (f"image.id IN (SELECT image_id FROM rating WHERE {sql})", bound)
    return _number("coalesce((SELECT value FROM rating WHERE rating.image_id = image.id), 0)", wanted)


def _seed(_: Connection, wanted: Filter) -> Condition:
    """Seeds are decimal text beyond 64 bits: a longer one is greater, equally long ones compare as text."""
    if wanted.op == "=":
        seed = canonical_seed(wanted.value)
        return ("length(image.seed) = length(?) AND image.seed = ?", (seed, seed)) if seed else NOTHING
    clauses: list[str] = ["image.seed NOT GLOB '*[^0-9]*'"]
    bound: list[str | int | float] = []
    for sign, end in ((">=", canonical_seed(wanted.low)), ("<=", canonical_seed(wanted.high))):
        if end is None:
            continue
        if not end.isdigit():
            return NOTHING
        # The first condition alone is what the index can be searched by.
        clauses.append(f"length(image.seed) {sign} ? AND (length(image.seed), image.seed) {sign} (?, ?)")
        bound += [len(end), len(end), end]
    return " AND ".join(clauses), tuple(bound)


def _date(_: Connection, wanted: Filter) -> Condition:
    """Whole days in local time, both ends included."""
    low, high = _ends(wanted)
    try:
        first = datetime.date.fromisoformat(low) if low else None
        last = datetime.date.fromisoformat(high) + datetime.timedelta(days=1) if high else None
        ends = [(sign, _midnight(day)) for sign, day in ((">=", first), ("<", last)) if day is not None]
    except (ValueError, OverflowError, OSError):
        return NOTHING
    return _all((f"image.created_at {sign} ?", end) for sign, end in ends)


def _midnight(day: datetime.date) -> float:
    return datetime.datetime.combine(day, datetime.time()).astimezone().timestamp()


def _lora(connection: Connection, wanted: Filter) -> Condition:
    names = _matching(_distinct(connection, "lora_use", "name"), wanted.value, _model_spellings)
    return _in_list("image.id IN (SELECT image_id FROM lora_use WHERE name", names, ")")


def _tag(connection: Connection, wanted: Filter) -> Condition:
    value = "/".join(part.strip() for part in (wanted.value or "").split("/") if part.strip())
    stored = {*_distinct(connection, "tag", "name"), *_distinct(connection, "folder_tag", "name")}
    names = json.dumps(_matching(stored, unicodedata.normalize("NFC", value), with_ancestors))
    if names == "[]":
        return NOTHING
    among = "(SELECT value FROM json_each(?))"
    tagged, by_folder = (f"SELECT image_id FROM {table} WHERE name IN {among}" for table in ("tag", "folder_tag"))
    return f"image.id IN ({tagged} UNION {by_folder})", (names, names)


def _note(_: Connection, wanted: Filter) -> Condition:
    """Any part of a note, without case (that of ASCII letters: SQLite's LIKE)."""
    value = plain_text(wanted.value or "")
    if not value or "\0" in value:
        return NOTHING
    like = re.sub(r"([\\%_])", r"\\\1", value).replace("*", "%")
    return (r"image.id IN (SELECT image_id FROM note WHERE text LIKE ? ESCAPE '\')", (f"%{like}%",))


def _prompt(_: Connection, wanted: Filter) -> Condition:
    expression = match_expression(wanted.value or "", "{prompt}")
    return (
        ("image.id IN (SELECT rowid FROM prompt_fts WHERE prompt_fts MATCH ?)", (expression,))
        if expression
        else NOTHING
    )


def _missing(_: Connection, wanted: Filter) -> Condition:
    there = "EXISTS (SELECT 1 FROM file WHERE file.image_id = image.id AND missing_since IS NULL)"
    sql = {"yes": f"NOT {there}", "no": there}.get((wanted.value or "").lower())
    return (sql, ()) if sql else NOTHING


def _path(connection: Connection, wanted: Filter) -> Condition:
    """With `*`: the whole absolute path, or the path below its root. Without: any part of the absolute path."""
    value = plain_text(wanted.value or "").replace(os.sep, "/")
    # SQLite's LIKE ends a pattern at a NUL, and no path holds one.
    if not value or "\0" in value:
        return NOTHING
    like = re.sub(r"([\\%_])", r"\\\1", value).replace("*", "%")
    pattern = like if "*" in value else f"%{like}%"
    clauses, bound = [], []
    for root_id, path in connection.execute("SELECT id, path FROM root").fetchall():
        prefix = display(path).replace(os.sep, "/").rstrip("/") + "/"
        # "+": nearly every row is of some root, and walking the index to the rows takes twice as long as the rows alone.
        # What begins with % and fits the path below the root fits the whole path as well.
        if pattern.startswith("%"):
            clauses.append(r"(+root_id = ? AND ? || display LIKE ? ESCAPE '\')")
            bound += [root_id, prefix, pattern]
        else:
            clauses.append(r"(+root_id = ? AND (? || display LIKE ? ESCAPE '\' OR display LIKE ? ESCAPE '\'))")
            bound += [root_id, prefix, pattern, pattern]
    return (
        (f"image.id IN (SELECT image_id FROM file WHERE {' OR '.join(clauses)})", tuple(bound)) if clauses else NOTHING
    )


def _job(connection: Connection, wanted: Filter) -> Condition:
    """A job of this index by number or name, through the pictures it published; or what the picture itself says."""
    value = plain_text(wanted.value or "")
    matches = pattern(value)
    jobs = connection.execute("SELECT id, name FROM job").fetchall()
    ids = [job_id for job_id, name in jobs if matches(name) or matches(str(job_id))]
    stated = _distinct(connection, "image", "job")
    names = [name for name in stated if matches(name) or matches(name.rpartition("/")[0])]
    made = "image.content_hash IN (SELECT content_hash FROM job_item WHERE job_id IN (SELECT value FROM json_each(?)))"
    return f"{made} OR image.job IN (SELECT value FROM json_each(?))", (json.dumps(ids), json.dumps(names))


def _faces(connection: Connection, wanted: Filter) -> Condition:
    """How many faces a picture has. None at all is known only of pictures that were looked at."""
    low, high = _ends(wanted)
    try:
        least, most = int(low or 0), int(high) if high is not None else sys.maxsize
    except ValueError:
        return NOTHING
    counted = "SELECT image_id FROM region WHERE kind = ? GROUP BY image_id HAVING count(*)"
    if least > 0:
        return f"image.id IN ({counted} BETWEEN ? AND ?)", (FACE, least, most)
    if connection.execute("SELECT 1 FROM revision WHERE layer = ? AND active", (FACE,)).fetchone() is None:
        return NOTHING
    off_since = faces_off_since(connection)
    looked_at = "image.decode_problem IS NULL AND image.id NOT IN (SELECT image_id FROM work WHERE stage = ?)"
    return (
        f"{looked_at} AND image.id <= ? AND image.id NOT IN ({counted} > ?)",
        (FACE, sys.maxsize if off_since is None else off_since, FACE, most),
    )


def _region(connection: Connection, wanted: Filter) -> Condition:
    kinds = _matching(_distinct(connection, "region", "kind"), wanted.value, _as_is)
    return _in_list("image.id IN (SELECT image_id FROM region WHERE kind", kinds, ")")


_SPECIAL: dict[str, Callable[[Connection, Filter], Condition]] = {
    "rating": _rating,
    "seed": _seed,
    "date": _date,
    "lora": _lora,
    "tag": _tag,
    "note": _note,
    "prompt": _prompt,
    "missing": _missing,
    "path": _path,
    "job": _job,
    "faces": _faces,
    "region": _region,
}


def pattern(value: str) -> Callable[[str], bool]:
    """A test for texts: equal without case, `*` stands for anything."""
    parts = (re.escape(part) for part in value.casefold().split("*"))
    compiled = re.compile(".*".join(parts), re.DOTALL)
    return lambda text: compiled.fullmatch(text.casefold()) is not None


def _matching(names: Iterable[str], value: str | None, spellings: Callable[[str], Iterable[str]]) -> list[str]:
    matches = pattern(plain_text(value or ""))
    return [name for name in names if any(matches(spelling) for spelling in spellings(name))]


def _as_is(name: str) -> Iterable[str]:
    return (name,)


def _model_spellings(name: str) -> Iterable[str]:
    """A model as it is written, without its folder, and without its ending."""
    short = re.split(r"[\\/]", name)[-1]
    bare = next((short[: -len(end)] for end in _MODEL_ENDINGS if short.casefold().endswith(end)), short)
    return {name, short, bare}


def _distinct(connection: Connection, table: str, column: str) -> list[str]:
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


def _in_list(what: str, names: list[str], closing: str = "") -> Condition:
    return (f"{what} IN (SELECT value FROM json_each(?)){closing}", (json.dumps(names),)) if names else NOTHING


def _ends(wanted: Filter) -> tuple[str | None, str | None]:
    return (wanted.value, wanted.value) if wanted.op == "=" else (wanted.low, wanted.high)


def _all(clauses: Iterable[tuple[str, float]]) -> Condition:
    listed = list(clauses)
    return (" AND ".join(sql for sql, _ in listed), tuple(end for _, end in listed)) if listed else NOTHING
