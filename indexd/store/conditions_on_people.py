"""Filters about who is in the picture, into SQL conditions on `image`: faces, other regions, characters."""

from __future__ import annotations

import sys
import unicodedata

from indexd.store.condition_parts import (
    NOTHING,
    Condition,
    as_is,
    distinct,
    ends_of,
    in_list,
    matching,
    number_within,
    pattern,
)
from indexd.store.database import Connection
from indexd.store.records import Filter
from indexd.store.regions import faces_off_since
from indexd.store.revisions import FACE
from indexd.store.values import plain_text


def faces(connection: Connection, wanted: Filter) -> Condition:
    """How many faces a picture has. None at all is known only of pictures that were looked at."""
    low, high = ends_of(wanted)
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


def region(connection: Connection, wanted: Filter) -> Condition:
    kinds = matching(distinct(connection, "region", "kind"), wanted.value, as_is)
    return in_list("image.id IN (SELECT image_id FROM region WHERE kind", kinds, ")")


def character(connection: Connection, wanted: Filter) -> Condition:
    """A character by name or number, through its faces; or how many different ones there are in the picture."""
    if wanted.op == "..":
        found, bound = number_within("count(DISTINCT character_id)", wanted)
        least = wanted.low or "0"
        grouped = (
            "SELECT image_id FROM membership JOIN region ON region.id = region_id"
            " JOIN character ON character.id = character_id AND NOT hidden GROUP BY image_id"
        )
        if least.strip("0"):
            return f"image.id IN ({grouped} HAVING {found})", bound
        # Pictures with nobody in them are in no group.
        return f"image.id NOT IN ({grouped} HAVING NOT ({found}))", bound
    value = plain_text(wanted.value or "")
    matches, number = pattern(unicodedata.normalize("NFC", value)), value.removeprefix("#")
    named = connection.execute(
        "SELECT id, name FROM character WHERE name IS NOT NULL AND merged_into IS NULL"
    ).fetchall()
    ids = [one for one, name in named if matches(unicodedata.normalize("NFC", name))]
    if not ids and number.isascii() and number.isdigit() and len(number) < 19:
        ids = [int(number)]
    theirs = "image.id IN (SELECT image_id FROM region JOIN membership ON region_id = region.id WHERE character_id"
    return in_list(theirs, ids, ")")
