"""One filter into one SQL condition on `image`. The words of a filter are only ever bound, never written into the SQL.

Names (models, tags, …) are few while pictures are many: a name pattern is matched in Python against the distinct names,
with full Unicode case folding, and the index does the rest.
"""

from __future__ import annotations

import datetime
import json
import re
import unicodedata
from collections.abc import Callable

from indexd.store.condition_on_path import path
from indexd.store.condition_parts import (
    NOTHING,
    Condition,
    all_of,
    as_is,
    distinct,
    ends_of,
    in_list,
    matching,
    model_spellings,
    number_within,
    pattern,
)
from indexd.store.conditions_on_people import character, faces, region
from indexd.store.database import Connection
from indexd.store.fulltext import match_expression
from indexd.store.records import Filter
from indexd.store.revisions import FACE
from indexd.store.tags import with_ancestors
from indexd.store.values import canonical_seed, plain_text

_NUMBERS = frozenset(("steps", "width", "height", "cfg", "denoise", "clip_skip"))
_NAMES = {"sampler": "sampler", "schedule": "schedule", "generator": "generator", "model": "model_name"}
# The key of the filter language -> the name of the score.
_SCORES = {"clip_score": "clip", "aesthetic": "aesthetic", "sharpness": "sharpness"}
# Names in tables of their own: the table and its columns.
_LISTED = {
    "lora": ("lora_use", ("name",)),
    "embedding": ("inversion_use", ("name",)),
    "control": ("control_use", ("model", "module")),
    "detailer": ("detailer_use", ("model",)),
    "resource": ("resource_use", ("address", "name")),
    "refiner": ("refinement", ("refiner",)),
    "upscaler": ("refinement", ("upscaler", "hires_upscaler")),
}
_WORDS = {"prompt": "{prompt}", "negative": "{negative}", "raw_prompt": "{raw_prompt}"}
_STATED = {
    **{key: f"image.{column} IS NOT NULL" for key, column in _NAMES.items()},
    **{
        key: f"image.{key} IS NOT NULL"
        for key in ("seed", "steps", "cfg", "denoise", "clip_skip", "vae", "width", "height", "job")
    },
    "date": "1",
    "path": "EXISTS (SELECT 1 FROM file WHERE file.image_id = image.id)",
    **{
        key: f"image.id IN (SELECT image_id FROM {table} WHERE {' OR '.join(f'{one} IS NOT NULL' for one in columns)})"
        for key, (table, columns) in _LISTED.items()
    },
    "guidance": "image.id IN (SELECT image_id FROM refinement WHERE guidance IS NOT NULL)",
    "tag": "EXISTS (SELECT 1 FROM tag WHERE tag.image_id = image.id)"
    " OR EXISTS (SELECT 1 FROM folder_tag WHERE folder_tag.image_id = image.id)",
    "character": "image.id IN (SELECT image_id FROM region JOIN membership ON region_id = region.id)",
    "note": "EXISTS (SELECT 1 FROM note WHERE note.image_id = image.id)",
    "rating": "EXISTS (SELECT 1 FROM rating WHERE rating.image_id = image.id)",
    "prompt": "image.id IN (SELECT image_id FROM image_text WHERE trim(prompt) <> '')",
    "negative": "image.id IN (SELECT image_id FROM image_text WHERE trim(negative_prompt) <> '')",
    "raw_prompt": "image.id IN (SELECT image_id FROM image_text WHERE trim(raw_prompt) <> '')",
    **{key: f"image.id IN (SELECT image_id FROM score WHERE score.name = '{name}')" for key, name in _SCORES.items()},
    "faces": f"image.id IN (SELECT image_id FROM region WHERE kind = '{FACE}')",
    "region": "EXISTS (SELECT 1 FROM region WHERE region.image_id = image.id)",
}


def condition(connection: Connection, wanted: Filter, *, alone: bool = False) -> Condition:
    """The SQL condition of a filter. A value that cannot be met gives NOTHING; an unknown key raises ValueError.

    `alone`: it is the only one, so that a range may be answered from its index. Beside others that would be a detour: half of
    a million rows by way of an index take four times as long as all of them in their order.
    """
    if wanted.op == "has":
        if wanted.key not in _STATED:
            raise ValueError(f"nothing is known of the key {wanted.key!r}")
        plain: Condition = (_STATED[wanted.key], ())
    else:
        plain = _plain(connection, wanted, alone)
    sql, bound = plain
    # IS NOT TRUE, so that what is not stated counts as "not that".
    return (f"(({sql}) IS NOT TRUE)", bound) if wanted.negate else (f"({sql})", bound)


def _plain(connection: Connection, wanted: Filter, alone: bool) -> Condition:
    key = wanted.key
    if key in _NUMBERS:
        return number_within(f"{'' if alone else '+'}image.{key}", wanted)
    if key == "guidance":
        sql, bound = number_within("guidance", wanted)
        return (f"image.id IN (SELECT image_id FROM refinement WHERE {sql})", bound)
    if key in _LISTED:
        return _listed(connection, wanted, *_LISTED[key])
    if key in _WORDS:
        return _words(wanted, _WORDS[key])
    if key in _SCORES:
        sql, bound = number_within("value", wanted)
        return (f"image.id IN (SELECT image_id FROM score WHERE name = ? AND {sql})", (_SCORES[key], *bound))
    if key in _NAMES:
        spell = model_spellings if key == "model" else as_is
        names = matching(distinct(connection, "image", _NAMES[key]), wanted.value, spell)
        return in_list(f"image.{_NAMES[key]}", names)
    if key not in _SPECIAL:
        raise ValueError(f"nothing is known of the key {key!r}")
    return _SPECIAL[key](connection, wanted)


def _rating(_: Connection, wanted: Filter) -> Condition:
    # Unrated counts as 0, so that rating:0 finds what is still to be rated. Where it cannot be 0, the rated are enough.
    sql, bound = number_within("value", wanted)
    if (ends_of(wanted)[0] or "0") not in ("0", "0.0"):
        return (f"image.id IN (SELECT image_id FROM rating WHERE {sql})", bound)
    return number_within("coalesce((SELECT value FROM rating WHERE rating.image_id = image.id), 0)", wanted)


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
    low, high = ends_of(wanted)
    try:
        first = datetime.date.fromisoformat(low) if low else None
        last = datetime.date.fromisoformat(high) + datetime.timedelta(days=1) if high else None
        ends = [(sign, _midnight(day)) for sign, day in ((">=", first), ("<", last)) if day is not None]
    except (ValueError, OverflowError, OSError):
        return NOTHING
    return all_of((f"image.created_at {sign} ?", end) for sign, end in ends)


def _midnight(day: datetime.date) -> float:
    return datetime.datetime.combine(day, datetime.time()).astimezone().timestamp()


def _listed(connection: Connection, wanted: Filter, table: str, columns: tuple[str, ...]) -> Condition:
    """Names in a table of their own, in any of its columns."""
    clauses: list[str] = []
    bound: list[str | int | float] = []
    for column in columns:
        sql, values = in_list(column, matching(distinct(connection, table, column), wanted.value, model_spellings))
        if values:
            clauses.append(sql)
            bound += values
    return (
        (f"image.id IN (SELECT image_id FROM {table} WHERE {' OR '.join(clauses)})", tuple(bound))
        if clauses
        else NOTHING
    )


def _vae(connection: Connection, wanted: Filter) -> Condition:
    return in_list("image.vae", matching(distinct(connection, "image", "vae"), wanted.value, model_spellings))


def _tag(connection: Connection, wanted: Filter) -> Condition:
    value = "/".join(part.strip() for part in (wanted.value or "").split("/") if part.strip())
    stored = {*distinct(connection, "tag", "name"), *distinct(connection, "folder_tag", "name")}
    names = json.dumps(matching(stored, unicodedata.normalize("NFC", value), with_ancestors))
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


def _words(wanted: Filter, columns: str) -> Condition:
    expression = match_expression(wanted.value or "", columns)
    return (
        ("image.id IN (SELECT rowid FROM prompt_fts WHERE prompt_fts MATCH ?)", (expression,))
        if expression
        else NOTHING
    )


def _missing(_: Connection, wanted: Filter) -> Condition:
    there = "EXISTS (SELECT 1 FROM file WHERE file.image_id = image.id AND missing_since IS NULL)"
    sql = {"yes": f"NOT {there}", "no": there}.get((wanted.value or "").lower())
    return (sql, ()) if sql else NOTHING


def _job(connection: Connection, wanted: Filter) -> Condition:
    """A job of this index by number or name, through the pictures it published; or what the picture itself says."""
    value = plain_text(wanted.value or "")
    matches = pattern(value)
    jobs = connection.execute("SELECT id, name FROM job").fetchall()
    ids = [job_id for job_id, name in jobs if matches(name) or matches(str(job_id))]
    stated = distinct(connection, "image", "job")
    names = [name for name in stated if matches(name) or matches(name.rpartition("/")[0])]
    made = "image.content_hash IN (SELECT content_hash FROM job_item WHERE job_id IN (SELECT value FROM json_each(?)))"
    return f"{made} OR image.job IN (SELECT value FROM json_each(?))", (json.dumps(ids), json.dumps(names))


_SPECIAL: dict[str, Callable[[Connection, Filter], Condition]] = {
    "rating": _rating,
    "seed": _seed,
    "date": _date,
    "vae": _vae,
    "tag": _tag,
    "character": character,
    "note": _note,
    "missing": _missing,
    "path": path,
    "job": _job,
    "faces": faces,
    "region": region,
}
