"""Counts images by value and rating in SQL, so that no row leaves the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from indexd.name_key import name_key
from indexd.store.protocols.images import StatisticsRepository
from indexd.store.records import ImageTotals, Stars, ValueCount
from indexd.store.sqlite.adapters import ids_json
from indexd.store.sqlite.database import Database
from indexd.store.sqlite.filters.model_names import bare_model_name
from indexd_schemas.samplers import canonical_names

_FROM = "FROM image LEFT JOIN rating ON rating.image_id = image.id"
_STARS = ", ".join(f"count(*) FILTER (WHERE rating.value = {stars})" for stars in range(1, 6))
# Key: the value in SQL, and the table beside `image` that it needs.
_VALUES: dict[str, tuple[str, str]] = {
    "model": ("model_name", ""),
    "sampler": ("sampler", ""),
    # Its name may stand in that of the sampler, or be A1111's choice for it.
    "schedule": ("json_array(sampler, schedule)", ""),
    "generator": ("generator", ""),
    "steps": ("CAST(steps AS TEXT)", ""),
    "cfg": ("CAST(round(cfg, 1) AS TEXT)", ""),
    "size": ("width || 'x' || height", ""),
    "rating": ("CAST(rating.value AS TEXT)", ""),
    "month": ("strftime('%Y-%m', created_at, 'unixepoch', 'localtime')", ""),
    "year": ("strftime('%Y', created_at, 'unixepoch', 'localtime')", ""),
    "tag": ("named.name", "JOIN tag AS named ON named.image_id = image.id"),
    # An image counts once for a LoRA, however often its metadata names it.
    "lora": (
        "named.name",
        "JOIN (SELECT DISTINCT image_id, name FROM lora_use) AS named ON named.image_id = image.id",
    ),
    "choice": (
        "choice",
        "JOIN (SELECT DISTINCT image_id AS chosen_for, name || '=' || value AS choice FROM choice_use) ON chosen_for = image.id",
    ),
}
_PROMPTS_AT_A_TIME = 2000


class ImageStatistics(StatisticsRepository):
    """Every method takes the ids of the images to count; None = all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def totals(self, among: Collection[int] | None) -> ImageTotals:
        where, bound = _where(among)
        with self._database.read() as connection:
            row = connection.execute(
                f"SELECT count(*), {_STARS}, min(created_at), max(created_at) {_FROM} {where}", bound
            ).fetchall()[0]
        return ImageTotals(row[0], row[1:6], row[6], row[7])

    def counts_by(self, key: str, among: Collection[int] | None) -> list[ValueCount]:
        value, join = _VALUES[key]
        where, bound = _where(among)
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT {value} AS counted, count(*), {_STARS} {_FROM} {join} {where} GROUP BY counted", bound
            ).fetchall()
        return _merge_counts(key, rows)

    def count_with_value(self, key: str, among: Collection[int] | None) -> int:
        if key == "schedule":
            return sum(one.images for one in self.counts_by(key, among))
        value, join = _VALUES[key]
        where, bound = _where(among)
        given = f"{where} AND" if where else "WHERE"
        with self._database.read() as connection:
            count: int = connection.execute(
                f"SELECT count(DISTINCT image.id) {_FROM} {join} {given} trim({value}) <> ''", bound
            ).fetchall()[0][0]
        return count

    def prompts(self, among: Collection[int] | None, *, five_stars: bool, rated: bool, limit: int) -> Iterator[str]:
        where, bound = _where(among)
        stars = "rating.value = 5" if five_stars else "rating.value < 5" if rated else "rating.value IS NOT 5"
        where = f"{where} AND {stars}" if where else f"WHERE {stars}"
        with self._database.read() as connection:
            ids = [i for (i,) in connection.execute(f"SELECT image.id {_FROM} {where} ORDER BY image.id", bound)]
        step = -(-len(ids) // limit) if ids else 1
        chosen = ids[::step]
        for start in range(0, len(chosen), _PROMPTS_AT_A_TIME):
            with self._database.read() as connection:
                rows = connection.execute(
                    "SELECT prompt FROM image_text WHERE image_id IN (SELECT value FROM json_each(?)) AND prompt <> ''",
                    (ids_json(chosen[start : start + _PROMPTS_AT_A_TIME]),),
                ).fetchall()
            yield from (prompt for (prompt,) in rows)


def _where(among: Collection[int] | None) -> tuple[str, tuple[str, ...]]:
    if among is None:
        return "", ()
    return "WHERE image.id IN (SELECT value FROM json_each(?))", (ids_json(among),)


def _stars(counts: list[int]) -> Stars:
    one, two, three, four, five = counts
    return one, two, three, four, five


def _merge_counts(key: str, rows: Iterable[tuple[Any, ...]]) -> list[ValueCount]:
    """Count the values that mean the same as one, under its most frequent spelling; most images first.

    `rows` are a stored value, its images, and their ratings from 1 to 5 stars.
    """
    merged: dict[str, list[int]] = {}
    spellings: dict[str, tuple[int, str]] = {}
    for stored, *counts in rows:
        name = _VOCABULARIES[key](stored) if key in _VOCABULARIES and stored is not None else stored
        if name is None or not name.strip():
            continue
        same = name_key(name) if key in _VOCABULARIES else name
        known = merged.setdefault(same, [0] * 6)
        known[:] = [one + other for one, other in zip(known, counts, strict=True)]
        spellings[same] = max(spellings.get(same, (0, "")), (counts[0], name))
    tallies = [ValueCount(spellings[same][1], counts[0], _stars(counts[1:])) for same, counts in merged.items()]
    return sorted(tallies, key=lambda tally: (-tally.images, tally.value))


def _stated_schedule(stored: str) -> str | None:
    """The schedule of a JSON list of sampler and schedule."""
    return canonical_names(*json.loads(stored))[1]


# Key: what a stored value is counted as.
_VOCABULARIES: dict[str, Callable[[str], str | None]] = {
    "model": bare_model_name,
    "lora": bare_model_name,
    "sampler": lambda stored: canonical_names(stored, None)[0],
    "schedule": _stated_schedule,
}
