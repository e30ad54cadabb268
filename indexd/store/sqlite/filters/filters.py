"""Selects the image ids that match all filters, and sorts them for queries without ranking."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from indexd.store.id_set import IdSet
from indexd.store.protocols.images import FilterRepository
from indexd.store.records import Filter, ImageOrder
from indexd.store.sqlite.adapters import ids_json
from indexd.store.sqlite.database import Database
from indexd.store.sqlite.filters.condition_builders import id_subquery
from indexd.store.sqlite.filters.conditions import SCORE_NAMES, build_condition

_BY_TIME: dict[ImageOrder, str] = {"newest": "created_at DESC, image.id DESC", "oldest": "created_at, image.id"}


class Filters(FilterRepository):
    """Conditions on metadata become sets of image ids; vectors and words come after."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ids(self, filters: Sequence[Filter]) -> IdSet | None:
        if not filters:
            return None
        with self._database.read() as connection:
            conditions = [build_condition(connection, one, alone=len(filters) == 1) for one in filters]
            where = " AND ".join(sql for sql, _ in conditions)
            bound = [value for _, values in conditions for value in values]
            # As one text: half a million rows taken one by one cost twice as long.
            select = f"SELECT group_concat(image.id) FROM image WHERE {where}"
            if len(conditions) == 1 and (listed := id_subquery(where)) is not None:
                # A list of ids is the answer already: looking each of them up again costs more than the list.
                select = f"SELECT group_concat(image_id) FROM ({listed})"
            rows = connection.execute(select, bound).fetchall()
        return IdSet(np.fromstring(rows[0][0] or "", dtype=np.int64, sep=","))

    def sorted_ids(self, order: ImageOrder, among: Collection[int] | None, limit: int) -> list[int]:
        restricted = "" if among is None else "AND image.id IN (SELECT value FROM json_each(?))"
        bound: tuple[str, ...] = () if among is None else (ids_json(among),)
        with self._database.read() as connection:
            if order in _BY_TIME:
                rows = connection.execute(
                    f"SELECT id FROM image WHERE 1 {restricted} ORDER BY {_BY_TIME[order]} LIMIT ?", (*bound, limit)
                ).fetchall()
            else:
                newest = _BY_TIME["newest"]
                valued, name = ("rating", ()) if order == "rating" else ("score", (SCORE_NAMES[order],))
                which = "score.name = ?" if name else "1"
                rows = connection.execute(
                    f"SELECT image.id FROM {valued} JOIN image ON image.id = {valued}.image_id"
                    f" WHERE {which} {restricted} ORDER BY {valued}.value DESC, {newest} LIMIT ?",
                    (*name, *bound, limit),
                ).fetchall()
                # The others, as a walk along the index of times: sorting a whole library by rating takes a second.
                rows += connection.execute(
                    f"SELECT id FROM image WHERE id NOT IN (SELECT image_id FROM {valued} WHERE {which})"
                    f" {restricted} ORDER BY {newest} LIMIT ?",
                    (*name, *bound, limit - len(rows)),
                ).fetchall()
        return [image_id for (image_id,) in rows]
