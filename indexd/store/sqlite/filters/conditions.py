"""Translates a filter into an SQL condition on `image`. The texts of a filter are bound, never written into the SQL.

Names (models, tags, …) are few and images are many: a name pattern is matched in Python against the distinct names, with
full Unicode case folding, and the index finds their images.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable

from indexd.store.records import FACE_LAYER, Filter, TextColumn
from indexd.store.sqlite.adapters import AMONG, canonical_seed, utf8_text
from indexd.store.sqlite.annotations.tags import with_ancestors
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.filters.condition_builders import (
    ALWAYS,
    NO_MATCH,
    Condition,
    and_clauses,
    compile_pattern,
    distinct_values,
    in_list,
    matching_names,
    number_within,
    range_ends,
    single_spelling,
)
from indexd.store.sqlite.filters.model_names import compile_model_pattern, is_hash, stated_hash
from indexd.store.sqlite.filters.path_condition import path_condition
from indexd.store.sqlite.filters.people_conditions import character_condition, faces_condition, region_condition
from indexd.store.sqlite.library.fulltext import match_expression
from indexd_schemas.samplers import canonical_names, is_automatic, sampler_spellings, schedule_spellings

_NUMBER_COLUMNS = frozenset(("steps", "width", "height", "cfg", "denoise", "clip_skip"))
_NAME_COLUMNS = {"sampler": "sampler", "schedule": "schedule", "generator": "generator", "model": "model_name"}
# The key of the filter language -> the name of the score.
SCORE_NAMES = {"clip_score": "clip", "aesthetic": "aesthetic", "sharpness": "sharpness"}
# Names in tables of their own: the table and its columns.
_NAME_TABLES = {
    "lora": ("lora_use", ("name",)),
    "embedding": ("textual_inversion_use", ("name",)),
    "control": ("control_use", ("model", "module")),
    "detailer": ("detailer_use", ("model",)),
    "resource": ("resource_use", ("address", "name")),
    "refiner": ("refinement", ("refiner",)),
    "upscaler": ("refinement", ("upscaler", "hires_upscaler")),
}
_FULLTEXT_COLUMNS: dict[str, TextColumn] = {"prompt": "prompt", "negative": "negative", "raw_prompt": "raw_prompt"}
_HAS_VALUE_SQL = {
    **{key: f"image.{column} IS NOT NULL" for key, column in _NAME_COLUMNS.items()},
    **{
        key: f"image.{key} IS NOT NULL"
        for key in ("seed", "steps", "cfg", "denoise", "clip_skip", "vae", "width", "height")
    },
    "job": "image.job IS NOT NULL"
    " OR EXISTS (SELECT 1 FROM job_item WHERE content_hash = image.content_hash AND state = 'done')",
    "date": "1",
    "path": "EXISTS (SELECT 1 FROM file WHERE file.image_id = image.id)",
    **{
        key: f"image.id IN (SELECT image_id FROM {table} WHERE {' OR '.join(f'{one} IS NOT NULL' for one in columns)})"
        for key, (table, columns) in _NAME_TABLES.items()
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
    **{
        key: f"image.id IN (SELECT image_id FROM score WHERE score.name = '{name}')"
        for key, name in SCORE_NAMES.items()
    },
    "auto": "image.id IN (SELECT image_id FROM image_attribute)",
    "choice": "image.id IN (SELECT image_id FROM choice_use)",
    "faces": f"image.id IN (SELECT image_id FROM region WHERE kind = '{FACE_LAYER}')",
    "region": "EXISTS (SELECT 1 FROM region WHERE region.image_id = image.id)",
}


def build_condition(connection: Connection, wanted: Filter, *, alone: bool = False) -> Condition:
    """The SQL condition of a filter. A value that cannot be met gives NOTHING; an unknown key raises ValueError.

    `alone`: it is the only one, so that a range may be answered from its index. Beside others that would be a detour: half of
    a million rows by way of an index take four times as long as all of them in their order.
    """
    if wanted.op == "has":
        if wanted.key not in _HAS_VALUE_SQL:
            raise ValueError(f"nothing is known of the key {wanted.key!r}")
        plain: Condition = (_HAS_VALUE_SQL[wanted.key], ())
    else:
        plain = _build_positive(connection, wanted, alone)
    sql, bound = plain
    # IS NOT TRUE, so that what is not stated counts as "not that".
    return (f"(({sql}) IS NOT TRUE)", bound) if wanted.negate else (f"({sql})", bound)


def _build_positive(connection: Connection, wanted: Filter, alone: bool) -> Condition:
    key = wanted.key
    if key in _NUMBER_COLUMNS:
        return number_within(f"{'' if alone else '+'}image.{key}", wanted)
    if key == "guidance":
        sql, bound = number_within("guidance", wanted)
        return (f"image.id IN (SELECT image_id FROM refinement WHERE {sql})", bound)
    if key in _NAME_TABLES:
        return _in_name_table(connection, wanted, *_NAME_TABLES[key])
    if key in _FULLTEXT_COLUMNS:
        return _matches_fulltext(wanted, _FULLTEXT_COLUMNS[key])
    if key in SCORE_NAMES:
        sql, bound = number_within("value", wanted)
        return (f"image.id IN (SELECT image_id FROM score WHERE name = ? AND {sql})", (SCORE_NAMES[key], *bound))
    if key not in _BUILDERS:
        raise ValueError(f"nothing is known of the key {key!r}")
    return _BUILDERS[key](connection, wanted)


def _rating(_: Connection, wanted: Filter) -> Condition:
    # Unrated counts as 0, so that rating:0 finds what is still to be rated. Where it cannot be 0, the rated are enough.
    sql, bound = number_within("value", wanted)
    if (range_ends(wanted)[0] or "0") not in ("0", "0.0"):
        return (f"image.id IN (SELECT image_id FROM rating WHERE {sql})", bound)
    return number_within("coalesce((SELECT value FROM rating WHERE rating.image_id = image.id), 0)", wanted)


def _seed(_: Connection, wanted: Filter) -> Condition:
    """Seeds are decimal text beyond 64 bits: a longer one is greater, equally long ones compare as text."""
    if wanted.op == "=":
        seed = canonical_seed(wanted.value)
        return ("length(image.seed) = length(?) AND image.seed = ?", (seed, seed)) if seed else NO_MATCH
    clauses: list[str] = ["image.seed NOT GLOB '*[^0-9]*'"]
    bound: list[str | int | float] = []
    for sign, end in ((">=", canonical_seed(wanted.low)), ("<=", canonical_seed(wanted.high))):
        if end is None:
            continue
        if not end.isdigit():
            return NO_MATCH
        # The first condition alone is what the index can be searched by.
        clauses.append(f"length(image.seed) {sign} ? AND (length(image.seed), image.seed) {sign} (?, ?)")
        bound += [len(end), len(end), end]
    return " AND ".join(clauses), tuple(bound)


def _date(_: Connection, wanted: Filter) -> Condition:
    """Whole days in local time, both ends included."""
    low, high = range_ends(wanted)
    try:
        first = datetime.date.fromisoformat(low) if low else None
        last = datetime.date.fromisoformat(high) + datetime.timedelta(days=1) if high else None
        ends = [(sign, _midnight(day)) for sign, day in ((">=", first), ("<", last)) if day is not None]
    except (ValueError, OverflowError, OSError):
        return NO_MATCH
    return and_clauses((f"image.created_at {sign} ?", end) for sign, end in ends)


def _midnight(day: datetime.date) -> float:
    return datetime.datetime.combine(day, datetime.time()).astimezone().timestamp()


def _in_name_table(connection: Connection, wanted: Filter, table: str, columns: tuple[str, ...]) -> Condition:
    """Names in a table of their own, in any of its columns."""
    clauses: list[str] = []
    bound: list[str | int | float] = []
    for column in columns:
        sql, values = in_list(column, _model_names(connection, table, column, wanted))
        if values:
            clauses.append(sql)
            bound += values
    return (
        (f"image.id IN (SELECT image_id FROM {table} WHERE {' OR '.join(clauses)})", tuple(bound))
        if clauses
        else NO_MATCH
    )


def _model_names(connection: Connection, table: str, column: str, wanted: Filter) -> list[str]:
    """The distinct names of a column that name the same model as the filter."""
    matches = compile_model_pattern(utf8_text(wanted.value or ""))
    return [name for name in distinct_values(connection, table, column) if matches(name)]


def _vae(connection: Connection, wanted: Filter) -> Condition:
    return in_list("image.vae", _model_names(connection, "image", "vae", wanted))


def _model(connection: Connection, wanted: Filter) -> Condition:
    """A name, whose hash may not contradict a stated one; or the hash alone, whole or its beginning."""
    named, bound = in_list("image.model_name", _model_names(connection, "image", "model_name", wanted))
    digest = stated_hash(wanted.value or "")
    if digest is None:
        return named, bound
    equal = "(lower(substr(image.model_hash, 1, ?)) = ? OR ? GLOB lower(image.model_hash) || '*')"
    same: tuple[str | int | float, ...] = (len(digest), digest, digest)
    if is_hash(wanted.value or ""):
        return f"{named} OR {equal}", (*bound, *same)
    return f"{named} AND (image.model_hash IS NULL OR {equal})", (*bound, *same)


def _generator(connection: Connection, wanted: Filter) -> Condition:
    return in_list(
        "image.generator",
        matching_names(distinct_values(connection, "image", "generator"), wanted.value, single_spelling),
    )


def _sampler(connection: Connection, wanted: Filter) -> Condition:
    """A sampler by any of its names; one that also names a schedule ("DPM++ 2M Karras") asks for both."""
    value = wanted.value or ""
    name, schedule = (value, None) if "*" in value else canonical_names(value, None)
    sql, bound = in_list(
        "image.sampler", matching_names(distinct_values(connection, "image", "sampler"), name, sampler_spellings)
    )
    if schedule is None:
        return sql, bound
    scheduled, names = _schedule(connection, Filter("schedule", "=", schedule))
    return f"{sql} AND ({scheduled})", (*bound, *names)


def _schedule(connection: Connection, wanted: Filter) -> Condition:
    """A schedule by any of its names: stated alone, in the name of the sampler, or as A1111's choice for the sampler."""
    value = wanted.value or ""
    name = value if "*" in value else canonical_names(None, value)[1]
    stated = distinct_values(connection, "image", "schedule")
    samplers = distinct_values(connection, "image", "sampler")

    def samplers_with(schedule: str | None) -> list[str]:
        meant = {sampler: canonical_names(sampler, schedule)[1] for sampler in samplers}
        return [sampler for sampler, one in meant.items() if one and matching_names([one], name, schedule_spellings)]

    def is_one_of(column: str, names: list[str]) -> Condition:
        return in_list(f"image.{column}", names)

    automatic = is_one_of("schedule", [one for one in stated if is_automatic(one)])
    alternatives: list[tuple[Condition, Condition]] = [
        (ALWAYS, is_one_of("schedule", matching_names(stated, name, schedule_spellings))),
        (("image.schedule IS NULL", ()), is_one_of("sampler", samplers_with(None))),
        (automatic, is_one_of("sampler", samplers_with("automatic"))),
    ]
    # An impossible alternative would keep SQLite from answering the others by their indexes.
    possible = [(one, other) for one, other in alternatives if NO_MATCH not in (one, other)]
    if not possible:
        return NO_MATCH
    sql = " OR ".join(f"({one[0]} AND {other[0]})" for one, other in possible)
    return sql, tuple(value for one, other in possible for value in (*one[1], *other[1]))


def _tag(connection: Connection, wanted: Filter) -> Condition:
    value = "/".join(part.strip() for part in (wanted.value or "").split("/") if part.strip())
    stored = {*distinct_values(connection, "tag", "name"), *distinct_values(connection, "folder_tag", "name")}
    names = json.dumps(matching_names(stored, value, with_ancestors))
    if names == "[]":
        return NO_MATCH
    tagged, by_folder = (f"SELECT image_id FROM {table} WHERE name IN {AMONG}" for table in ("tag", "folder_tag"))
    return f"image.id IN ({tagged} UNION {by_folder})", (names, names)


def _note(_: Connection, wanted: Filter) -> Condition:
    """Any part of a note, without case (that of ASCII letters: SQLite's LIKE)."""
    value = utf8_text(wanted.value or "")
    if not value or "\0" in value:
        return NO_MATCH
    like = re.sub(r"([\\%_])", r"\\\1", value).replace("*", "%")
    return (r"image.id IN (SELECT image_id FROM note WHERE text LIKE ? ESCAPE '\')", (f"%{like}%",))


def _attribute(_: Connection, wanted: Filter) -> Condition:
    """`key=value` of a stage (no key = any), without the case of ASCII letters, with its score in the range."""
    key, _equals, value = utf8_text(wanted.value or "").partition("=")
    if not value or "\0" in value:
        return NO_MATCH
    clauses, bound = _named_value("key", key, value)
    if wanted.low is not None or wanted.high is not None:
        sql, ends = number_within("score", wanted)
        clauses.append(sql)
        bound += ends
    return f"image.id IN (SELECT image_id FROM image_attribute WHERE {' AND '.join(clauses)})", tuple(bound)


def _choice(_: Connection, wanted: Filter) -> Condition:
    """`name=value` of a template choice (no name = any), without the case of ASCII letters."""
    name, equals, value = utf8_text(wanted.value or "").partition("=")
    name, value = (name, value) if equals else ("", name)
    if not value or "\0" in name + value:
        return NO_MATCH
    clauses, bound = _named_value("name", name, value)
    return f"image.id IN (SELECT image_id FROM choice_use WHERE {' AND '.join(clauses)})", tuple(bound)


def _named_value(column: str, name: str, value: str) -> tuple[list[str], list[str | int | float]]:
    """The clauses for a value with * as wildcard, and for its name in `column`; "" = any name."""
    like = re.sub(r"([\\%_])", r"\\\1", value).replace("*", "%")
    clauses = [r"value LIKE ? ESCAPE '\'" if "*" in value else "value = ? COLLATE NOCASE"]
    bound: list[str | int | float] = [like if "*" in value else value]
    if name:
        clauses.append(f"{column} = ? COLLATE NOCASE")
        bound.append(name)
    return clauses, bound


def _matches_fulltext(wanted: Filter, column: TextColumn) -> Condition:
    expression = match_expression(wanted.value or "", [column])
    return (
        ("image.id IN (SELECT rowid FROM prompt_fts WHERE prompt_fts MATCH ?)", (expression,))
        if expression
        else NO_MATCH
    )


def _missing(_: Connection, wanted: Filter) -> Condition:
    there = "EXISTS (SELECT 1 FROM file WHERE file.image_id = image.id AND missing_since IS NULL)"
    sql = {"yes": f"NOT {there}", "no": there}.get((wanted.value or "").lower())
    return (sql, ()) if sql else NO_MATCH


def _job(connection: Connection, wanted: Filter) -> Condition:
    """A job by number or name: the images that it published, and images whose metadata names it."""
    value = utf8_text(wanted.value or "")
    matches = compile_pattern(value)
    jobs = connection.execute("SELECT id, name FROM job").fetchall()
    ids = [job_id for job_id, name in jobs if matches(name) or matches(str(job_id))]
    stated = distinct_values(connection, "image", "job")
    names = [name for name in stated if matches(name) or matches(name.rpartition("/")[0])]
    made = (
        "image.content_hash IN (SELECT content_hash FROM job_item"
        " WHERE state = 'done' AND job_id IN (SELECT value FROM json_each(?)))"
    )
    return f"{made} OR image.job IN (SELECT value FROM json_each(?))", (json.dumps(ids), json.dumps(names))


_BUILDERS: dict[str, Callable[[Connection, Filter], Condition]] = {
    "rating": _rating,
    "seed": _seed,
    "date": _date,
    "model": _model,
    "sampler": _sampler,
    "schedule": _schedule,
    "generator": _generator,
    "vae": _vae,
    "tag": _tag,
    "character": character_condition,
    "note": _note,
    "missing": _missing,
    "path": path_condition,
    "job": _job,
    "auto": _attribute,
    "choice": _choice,
    "faces": faces_condition,
    "region": region_condition,
}
