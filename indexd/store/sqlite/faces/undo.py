"""Snapshots of the rows that a correction changes, and their restoration. Runs in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from indexd.errors import NothingFound, UsageError
from indexd.store.sqlite.adapters import AMONG, ids_json
from indexd.store.sqlite.database import Connection

CHARACTER_COLUMNS = ("name", "name_key", "hidden", "threshold", "curated", "merged_into")


@dataclass(slots=True)
class CorrectionSnapshot:
    """Rows before a correction, by id as text (JSON keys).

    `characters`: the values of CHARACTER_COLUMNS. `members`: region -> (character, source), None without a character.
    `labels`: region -> (character, label, time). `separations`: all pairs with one of these characters.
    `made`: new character -> the character that gets its faces on undo (None = none).
    """

    characters: dict[str, list[Any]] = field(default_factory=dict)
    members: dict[str, list[Any] | None] = field(default_factory=dict)
    labels: dict[str, list[list[Any]]] = field(default_factory=dict)
    separations: list[list[int]] = field(default_factory=list)
    made: dict[str, int | None] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def overlaps(self, other: CorrectionSnapshot) -> bool:
        """Whether both changed the same character or face."""
        own, others = {*self.characters, *self.made}, {*other.characters, *other.made}
        return bool(own & others or self.members.keys() & other.members.keys())


def snapshot_characters(connection: Connection, ids: Collection[int]) -> CorrectionSnapshot:
    """A snapshot of these characters. Raises NothingFound for an unknown one, UsageError for a merged one."""
    before = CorrectionSnapshot()
    for one in ids:
        row = connection.execute(
            f"SELECT {', '.join(CHARACTER_COLUMNS)} FROM character WHERE id = ?", (one,)
        ).fetchone()
        if row is None:
            raise NothingFound(f"there is no character {one}; `indexd characters list` shows them")
        if row[-1] is not None:
            raise UsageError(f"character {one} was merged into {row[-1]}")
        before.characters[str(one)] = list(row)
    before.separations = [
        list(pair)
        for pair in connection.execute(
            f"SELECT one_id, other_id FROM character_separation WHERE one_id IN {AMONG} OR other_id IN {AMONG}",
            (ids_json(ids), ids_json(ids)),
        )
    ]
    return before


def snapshot_faces(connection: Connection, before: CorrectionSnapshot, regions: Collection[int]) -> None:
    """Add these faces to the snapshot."""
    wanted = ids_json(regions)
    before.members = {str(one): None for one in regions}
    for region, character, source in connection.execute(
        f"SELECT region_id, character_id, source FROM membership WHERE region_id IN {AMONG}", (wanted,)
    ):
        before.members[str(region)] = [character, source]
    for region, character, label, at in connection.execute(
        f"SELECT region_id, character_id, label, labelled_at FROM face_label WHERE region_id IN {AMONG}", (wanted,)
    ):
        before.labels.setdefault(str(region), []).append([character, label, at])


def regions_of_characters(connection: Connection, characters: Collection[int]) -> list[int]:
    """The faces of these characters, and those with a label for one of them."""
    wanted = ids_json(characters)
    rows = connection.execute(
        f"SELECT region_id FROM membership WHERE character_id IN {AMONG}"
        f" UNION SELECT region_id FROM face_label WHERE character_id IN {AMONG}",
        (wanted, wanted),
    )
    return [region for (region,) in rows]


def update_character(connection: Connection, character_id: int, columns: Mapping[str, Any]) -> None:
    """Update some of CHARACTER_COLUMNS."""
    assignments = ", ".join(f"{name} = ?" for name in CHARACTER_COLUMNS if name in columns)
    values = tuple(columns[name] for name in CHARACTER_COLUMNS if name in columns)
    connection.execute(f"UPDATE character SET {assignments} WHERE id = ?", (*values, character_id))


def find_undoable(connection: Connection, number: int | None) -> tuple[Any, ...]:
    """The correction `number`, or the latest one: (id, at, kind, text, before). Raises NothingFound or UsageError."""
    columns = "id, at, kind, text, before, undone_at"
    if number is None:
        row = connection.execute(
            f"SELECT {columns} FROM correction WHERE undone_at IS NULL ORDER BY id DESC LIMIT 1"
        ).fetchone()
        if row is None:
            raise NothingFound("there is nothing to undo")
    else:
        row = connection.execute(f"SELECT {columns} FROM correction WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise NothingFound(f"there is no correction {number}; `indexd characters undo --list` shows them")
        if row[5] is not None:
            raise UsageError(
                f"correction {number} is undone already"
                if row[2] != "undo"
                else f"correction {number} is itself an undo"
            )
    return tuple(row[:5])


def refuse_if_later_overlaps(connection: Connection, number: int, before: CorrectionSnapshot) -> None:
    """Raise UsageError when a later correction changed the same characters or faces."""
    later = connection.execute(
        "SELECT id, text, before FROM correction WHERE id > ? AND undone_at IS NULL ORDER BY id DESC", (number,)
    )
    for other, text, snapshot in later.fetchall():
        if before.overlaps(CorrectionSnapshot(**json.loads(snapshot))):
            raise UsageError(f"correction {other} depends on it; undo that first ({text})")


def restore_snapshot(connection: Connection, before: CorrectionSnapshot) -> set[int]:
    """Restore the rows; returns the characters whose faces changed. Deleted faces are skipped."""
    changed = {int(one) for one in before.characters} | {int(one) for one in before.made}
    for one in before.characters:
        # Clear all names first: another of these characters may still have the restored name.
        connection.execute("UPDATE character SET name_key = NULL WHERE id = ?", (int(one),))
    for one, columns in before.characters.items():
        update_character(connection, int(one), dict(zip(CHARACTER_COLUMNS, columns, strict=True)))
    existing = {
        str(region)
        for (region,) in connection.execute(
            f"SELECT id FROM region WHERE id IN {AMONG}", (ids_json(map(int, before.members)),)
        )
    }
    for region in existing:
        connection.execute("DELETE FROM face_label WHERE region_id = ?", (int(region),))
        connection.execute("DELETE FROM membership WHERE region_id = ?", (int(region),))
        member = before.members[region]
        if member is not None:
            changed.add(int(member[0]))
            connection.execute(
                "INSERT INTO membership (region_id, character_id, source) VALUES (?, ?, ?)", (int(region), *member)
            )
        connection.executemany(
            "INSERT INTO face_label (region_id, character_id, label, labelled_at) VALUES (?, ?, ?, ?)",
            [(int(region), *label) for label in before.labels.get(region, [])],
        )
    for made, heir in before.made.items():
        # Faces that the new character received later go to its heir.
        if heir is None:
            connection.execute("DELETE FROM membership WHERE character_id = ?", (int(made),))
        else:
            connection.execute("UPDATE membership SET character_id = ? WHERE character_id = ?", (heir, int(made)))
        connection.execute("DELETE FROM face_label WHERE character_id = ?", (int(made),))
        update_character(connection, int(made), {"curated": 0, "name": None, "name_key": None, "merged_into": heir})
    ids = ids_json(changed)
    connection.execute(f"DELETE FROM character_separation WHERE one_id IN {AMONG} AND other_id IN {AMONG}", (ids, ids))
    connection.executemany(
        "INSERT OR IGNORE INTO character_separation (one_id, other_id) VALUES (?, ?)", before.separations
    )
    return changed
