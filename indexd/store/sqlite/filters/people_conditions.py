"""SQL conditions on `image` for filters about faces, other regions and characters."""

from __future__ import annotations

import sys

from indexd.store.records import FACE_LAYER, Filter
from indexd.store.sqlite.adapters import utf8_text
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.faces.regions import faces_off_since
from indexd.store.sqlite.filters.condition_builders import (
    NO_MATCH,
    Condition,
    compile_pattern,
    distinct_values,
    in_list,
    matching_names,
    number_within,
    range_ends,
    single_spelling,
)


def faces_condition(connection: Connection, wanted: Filter) -> Condition:
    """The number of faces. Only images whose face stage is done can have no face."""
    low, high = range_ends(wanted)
    try:
        least, most = int(low or 0), int(high) if high is not None else sys.maxsize
    except ValueError:
        return NO_MATCH
    counted = "SELECT image_id FROM region WHERE kind = ? GROUP BY image_id HAVING count(*)"
    if least > 0:
        return f"image.id IN ({counted} BETWEEN ? AND ?)", (FACE_LAYER, least, most)
    if connection.execute("SELECT 1 FROM revision WHERE layer = ? AND active", (FACE_LAYER,)).fetchone() is None:
        return NO_MATCH
    off_since = faces_off_since(connection)
    looked_at = "image.decode_problem IS NULL AND image.id NOT IN (SELECT image_id FROM index_task WHERE stage = ?)"
    return (
        f"{looked_at} AND image.id <= ? AND image.id NOT IN ({counted} > ?)",
        (FACE_LAYER, sys.maxsize if off_since is None else off_since, FACE_LAYER, most),
    )


def region_condition(connection: Connection, wanted: Filter) -> Condition:
    kinds = matching_names(distinct_values(connection, "region", "kind"), wanted.value, single_spelling)
    return in_list("image.id IN (SELECT image_id FROM region WHERE kind", kinds, ")")


def character_condition(connection: Connection, wanted: Filter) -> Condition:
    """A character by name or number, or the number of different characters in the image."""
    if wanted.op == "..":
        found, bound = number_within("count(DISTINCT character_id)", wanted)
        least = wanted.low or "0"
        grouped = (
            "SELECT image_id FROM membership JOIN region ON region.id = region_id"
            " JOIN character ON character.id = character_id AND NOT hidden GROUP BY image_id"
        )
        if least.strip("0"):
            return f"image.id IN ({grouped} HAVING {found})", bound
        # Images without a character are in no group.
        return f"image.id NOT IN ({grouped} HAVING NOT ({found}))", bound
    value = utf8_text(wanted.value or "")
    matches, number = compile_pattern(value), value.removeprefix("#")
    named = connection.execute(
        "SELECT id, name FROM character WHERE name IS NOT NULL AND merged_into IS NULL"
    ).fetchall()
    ids = [one for one, name in named if matches(name)]
    if not ids and number.isascii() and number.isdigit() and len(number) < 19:
        ids = [int(number)]
    theirs = "image.id IN (SELECT image_id FROM region JOIN membership ON region_id = region.id WHERE character_id"
    return in_list(theirs, ids, ")")
