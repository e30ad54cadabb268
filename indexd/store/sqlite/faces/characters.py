"""Characters and the membership of their faces, as clustering and assignment write them. Corrections: corrections.py."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from indexd.background.signal import Signal
from indexd.name_key import name_key
from indexd.store.protocols.faces import CharacterRepository
from indexd.store.records import CharacterRow, ClusteringResult, FaceAssignments, FaceMembership
from indexd.store.sqlite.adapters import AMONG, ids_json, utf8_text
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.row_reader import RowReader

Ids = NDArray[np.int64]

# A row of `membership`, with its source as two flags.
_MEMBERSHIP_DTYPE = np.dtype(
    [("region", np.int64), ("character", np.int64), ("confirmed", np.bool_), ("assigned", np.bool_)]
)
_CHARACTER = RowReader(
    CharacterRow,
    sql={
        "id": "character.id",
        "faces": "count(membership.region_id)",
        "images": "count(DISTINCT region.image_id)",
        "confirmed": "count(membership.region_id) FILTER (WHERE source = 'confirmed')",
    },
    convert={"hidden": bool, "curated": bool},
)
_SELECT_CHARACTERS = f"""
SELECT {_CHARACTER.columns}
FROM character LEFT JOIN membership ON membership.character_id = character.id
LEFT JOIN region ON region.id = membership.region_id
WHERE {{where}} GROUP BY character.id ORDER BY count(membership.region_id) DESC, character.id
"""


class CharacterTables(CharacterRepository):
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._changed: Signal[Collection[int]] = Signal("characters changed")

    def subscribe(self, listener: Callable[[Collection[int]], object]) -> Callable[[], None]:
        return self._changed.subscribe(listener)

    def notify(self, characters: Collection[int]) -> None:
        """Report to the listeners which characters changed, after the commit."""
        if characters:
            self._changed.emit(characters)

    def rows(self, *, hidden: bool = False, empty: bool = False) -> list[CharacterRow]:
        where = "merged_into IS NULL" + ("" if hidden else " AND NOT hidden")
        with self._database.read() as connection:
            found = [_CHARACTER.read(row) for row in connection.execute(_SELECT_CHARACTERS.format(where=where))]
        return [row for row in found if empty or row.faces or row.name]

    def get(self, character_id: int) -> CharacterRow | None:
        with self._database.read() as connection:
            row = connection.execute(_SELECT_CHARACTERS.format(where="character.id = ?"), (character_id,)).fetchone()
        return _CHARACTER.read(row) if row else None

    def find_by_name(self, name: str) -> CharacterRow | None:
        with self._database.read() as connection:
            row = connection.execute(
                _SELECT_CHARACTERS.format(where="name_key = ?"), (character_name_key(name),)
            ).fetchone()
        return _CHARACTER.read(row) if row else None

    def names(self) -> dict[int, str]:
        with self._database.read() as connection:
            return dict(
                connection.execute(
                    "SELECT id, name FROM character WHERE name IS NOT NULL AND merged_into IS NULL"
                ).fetchall()
            )

    def thresholds(self) -> dict[int, float]:
        with self._database.read() as connection:
            return dict(
                connection.execute("SELECT id, threshold FROM character WHERE threshold IS NOT NULL").fetchall()
            )

    def members(self, characters: Collection[int] | None = None) -> list[FaceMembership]:
        where, bound = ("", ()) if characters is None else (f"WHERE character_id IN {AMONG}", (ids_json(characters),))
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT region_id, character_id, source FROM membership {where} ORDER BY region_id", bound
            )
            return [FaceMembership(*row) for row in rows]

    def memberships_by_region(self, regions: Collection[int]) -> dict[int, FaceMembership]:
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT region_id, character_id, source FROM membership WHERE region_id IN {AMONG}",
                (ids_json(regions),),
            )
            return {row[0]: FaceMembership(*row) for row in rows}

    def rejections(self, regions: Collection[int]) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        with self._database.read() as connection:
            for region_id, character_id in connection.execute(
                f"SELECT region_id, character_id FROM face_label WHERE label = 'not' AND region_id IN {AMONG}",
                (ids_json(regions),),
            ):
                found.setdefault(region_id, set()).add(character_id)
        return found

    def separated_pairs(self) -> set[tuple[int, int]]:
        with self._database.read() as connection:
            return set(connection.execute("SELECT one_id, other_id FROM character_separation").fetchall())

    def apply_clustering(self, regions: Ids, decide: Callable[[FaceAssignments], Ids]) -> ClusteringResult:
        with self._database.write() as connection:
            known = read_face_assignments(connection, regions)
            after = decide(known)
            created = [self._create(connection) for _ in range(-int(after.min(initial=0)))]
            is_new = after < 0
            after = after.copy()
            after[is_new] = np.array(created, np.int64)[-after[is_new] - 1]
            exists = np.isin(regions, _existing_regions(connection, regions))
            moved = exists & (after != known.character)
            left = moved & (after == 0)
            connection.executemany(
                "DELETE FROM membership WHERE region_id = ?", [(one,) for one in regions[left].tolist()]
            )
            # A cluster that confirms an assignment changes its source to 'cluster'.
            written = exists & (after > 0) & ~known.confirmed & (moved | known.assigned)
            connection.executemany(
                "INSERT OR REPLACE INTO membership (region_id, character_id, source) VALUES (?, ?, 'cluster')",
                zip(regions[written].tolist(), after[written].tolist(), strict=True),
            )
        changed = frozenset({*known.character[moved].tolist(), *after[moved].tolist()} - {0})
        self.notify(changed)
        joined = moved & (known.character == 0)
        return ClusteringResult(int(joined.sum()), int((moved & ~joined).sum()), tuple(created), changed)

    def assign(self, character_of: Mapping[int, int]) -> int:
        with self._database.write() as connection:
            existing = set(_existing_regions(connection, list(character_of)).tolist())
            count = 0
            for region_id, character_id in character_of.items():
                if region_id not in existing:
                    continue
                connection.execute(
                    "INSERT OR IGNORE INTO membership (region_id, character_id, source) SELECT ?, id, 'assigned'"
                    " FROM character WHERE id = ? AND merged_into IS NULL AND NOT EXISTS"
                    " (SELECT 1 FROM face_label WHERE region_id = ? AND character_id = ? AND label = 'not')",
                    (region_id, character_id, region_id, character_id),
                )
                count += connection.changes()
        return count

    def _create(self, connection: Connection) -> int:
        return create_character(connection, self._clock())


def create_character(connection: Connection, now: float, *, curated: bool = False) -> int:
    """Insert a character without faces; returns its id."""
    connection.execute("INSERT INTO character (curated, created_at) VALUES (?, ?)", (int(curated), now))
    return connection.last_insert_rowid()


def character_name_key(name: str) -> str:
    """The value of `character.name_key`: equal for all spellings of a name."""
    return name_key(utf8_text(name)).strip()


def read_face_assignments(connection: Connection, regions: Ids) -> FaceAssignments:
    """The known character, source and rejections of each region; `regions` ascend."""
    character = np.zeros(len(regions), np.int64)
    confirmed, assigned = np.zeros(len(regions), np.bool_), np.zeros(len(regions), np.bool_)
    # Rows go directly into an array: Python objects for 100 000 faces would fragment the heap permanently.
    members = np.fromiter(
        connection.execute("SELECT region_id, character_id, source = 'confirmed', source = 'assigned' FROM membership"),
        _MEMBERSHIP_DTYPE,
    )
    index, is_present = _locate(regions, members["region"])
    index, members = index[is_present], members[is_present]
    character[index] = members["character"]
    confirmed[index], assigned[index] = members["confirmed"], members["assigned"]
    labels = connection.execute("SELECT region_id, character_id FROM face_label WHERE label = 'not'").fetchall()
    index, is_present = _locate(regions, np.array([region for region, _ in labels], np.int64))
    rejected = [(int(index[label]), labels[label][1]) for label in np.flatnonzero(is_present)]
    curated = {one for (one,) in connection.execute("SELECT id FROM character WHERE curated")}
    return FaceAssignments(character, confirmed, assigned, rejected, curated)


def _locate(regions: Ids, wanted: Ids) -> tuple[Ids, NDArray[np.bool_]]:
    """The index of each wanted id in the ascending `regions`, and whether it is present."""
    if not len(regions):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    index = np.minimum(np.searchsorted(regions, wanted), len(regions) - 1)
    return index, regions[index] == wanted


def _existing_regions(connection: Connection, regions: Ids | list[int]) -> Ids:
    listed = regions.tolist() if isinstance(regions, np.ndarray) else regions
    rows = connection.execute(f"SELECT id FROM region WHERE id IN {AMONG}", (ids_json(listed),))
    return np.fromiter((one for (one,) in rows), np.int64)
