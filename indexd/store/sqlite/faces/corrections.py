"""Corrections of characters by the user: each one is a transaction that can be undone.

A correction stores a snapshot of the characters and faces that it changes. It can be undone unless a later correction
changed one of them; that one must be undone first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence

from indexd.errors import NothingFound, UsageError
from indexd.store.protocols.faces import CorrectionRepository
from indexd.store.records import CorrectionRow
from indexd.store.sqlite.adapters import AMONG, ids_json, utf8_text
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.faces.characters import CharacterTables, character_name_key, create_character
from indexd.store.sqlite.faces.undo import (
    CorrectionSnapshot,
    find_undoable,
    refuse_if_later_overlaps,
    regions_of_characters,
    restore_snapshot,
    snapshot_characters,
    snapshot_faces,
    update_character,
)


class Corrections(CorrectionRepository):
    """Each method durably writes one correction and returns its number in the log. Unknown ids raise NothingFound."""

    def __init__(self, database: Database, characters: CharacterTables, clock: Callable[[], float]) -> None:
        self._database = database
        self._characters = characters
        self._clock = clock

    def set_name(self, character_id: int, name: str) -> int:
        text = utf8_text(name).strip()
        with self._database.write(durable=True) as connection:
            before = snapshot_characters(connection, [character_id])
            key = character_name_key(text) or None
            self._refuse_taken_name(connection, text, f"indexd characters merge {{}} {character_id}", but=character_id)
            if not text and before.characters[str(character_id)][0] is None:
                raise UsageError(f"character {character_id} has no name")
            update_character(connection, character_id, {"name": text or None, "name_key": key, "curated": 1})
            description = f"named {character_id} {text}" if text else f"removed the name of {character_id}"
            return self._write_log(connection, "name", description, before)

    def create_character(self, name: str, regions: Collection[int]) -> tuple[int, int]:
        text = utf8_text(name).strip()
        if not text:
            raise UsageError("a new character needs a name")
        with self._database.write(durable=True) as connection:
            before, touched = self._snapshot_with_owners(connection, regions)
            self._refuse_taken_name(connection, text, "indexd characters confirm {} FACE...")
            now = self._clock()
            made = create_character(connection, now, curated=True)
            before.made[str(made)] = None
            update_character(connection, made, {"name": text, "name_key": character_name_key(text)})
            _confirm_faces(connection, made, regions, now)
            number = self._write_log(
                connection,
                "new",
                f"created {_describe_character(connection, made)} from {_describe_faces(regions)}",
                before,
            )
        self._characters.notify({made, *touched})
        return number, made

    def set_hidden(self, character_id: int, hidden: bool) -> int:
        with self._database.write(durable=True) as connection:
            before = snapshot_characters(connection, [character_id])
            update_character(connection, character_id, {"hidden": int(hidden)})
            return self._write_log(
                connection,
                "hide",
                f"{'hid' if hidden else 'showed'} {_describe_character(connection, character_id)}",
                before,
            )

    def set_threshold(self, character_id: int, threshold: float | None) -> int:
        if threshold is not None and not 0 <= threshold <= 1:
            raise UsageError(f"a threshold is a cosine from 0 to 1 (got {threshold:g})")
        with self._database.write(durable=True) as connection:
            before = snapshot_characters(connection, [character_id])
            update_character(connection, character_id, {"threshold": threshold})
            what = f"{threshold:g}" if threshold is not None else "that of the settings"
            number = self._write_log(
                connection, "threshold", f"threshold of {_describe_character(connection, character_id)}: {what}", before
            )
        self._characters.notify({character_id})
        return number

    def merge(self, into: int, others: Sequence[int]) -> int:
        gone = [one for one in dict.fromkeys(others) if one != into]
        if not gone:
            raise UsageError("name at least two different characters to merge")
        with self._database.write(durable=True) as connection:
            among = ids_json(gone)
            before = snapshot_characters(connection, [into, *gone])
            snapshot_faces(connection, before, regions_of_characters(connection, [into, *gone]))
            for one in gone:
                update_character(connection, one, {"name_key": None, "merged_into": into})
            if before.characters[str(into)][0] is None:
                heir = next((before.characters[str(one)] for one in gone if before.characters[str(one)][0]), None)
                if heir is not None:
                    update_character(connection, into, {"name": heir[0], "name_key": heir[1]})
            update_character(connection, into, {"curated": 1})
            connection.execute(f"UPDATE membership SET character_id = ? WHERE character_id IN {AMONG}", (into, among))
            # A face rejected from one character but owned by another one of them is not rejected from the merged one.
            connection.execute(
                f"INSERT OR IGNORE INTO face_label (region_id, character_id, label, labelled_at)"
                f" SELECT region_id, ?, 'not', max(labelled_at) FROM face_label WHERE label = 'not'"
                f" AND character_id IN {AMONG} AND region_id NOT IN"
                f" (SELECT region_id FROM membership WHERE character_id = ?) GROUP BY region_id",
                (into, among, into),
            )
            connection.execute(f"DELETE FROM face_label WHERE label = 'not' AND character_id IN {AMONG}", (among,))
            connection.execute(
                "DELETE FROM face_label WHERE label = 'not' AND character_id = ? AND region_id IN"
                " (SELECT region_id FROM membership WHERE character_id = ?)",
                (into, into),
            )
            connection.execute(f"UPDATE face_label SET character_id = ? WHERE character_id IN {AMONG}", (into, among))
            connection.execute(
                f"DELETE FROM character_separation WHERE one_id IN {AMONG} OR other_id IN {AMONG}", (among, among)
            )
            text = f"merged {', '.join(map(str, gone))} into {_describe_character(connection, into)}"
            number = self._write_log(connection, "merge", text, before)
        self._characters.notify({into, *gone})
        return number

    def split(self, character_id: int, groups: Sequence[Collection[int]]) -> tuple[int, list[int]]:
        parts = [set(group) for group in groups if group]
        with self._database.write(durable=True) as connection:
            before = snapshot_characters(connection, [character_id])
            owned = set(regions_of_characters(connection, [character_id]))
            foreign = sorted(set().union(*parts) - owned)
            if foreign:
                raise UsageError(
                    f"face {foreign[0]} does not belong to character {_describe_character(connection, character_id)}"
                )
            if not parts or sum(map(len, parts)) >= len(owned):
                raise UsageError("a split must leave at least one face and take out at least one")
            snapshot_faces(connection, before, sorted(set().union(*parts)))
            now = self._clock()
            made = []
            for group in parts:
                new = create_character(connection, now, curated=True)
                made.append(new)
                before.made[str(new)] = character_id
                taken = ids_json(sorted(group))
                connection.execute(f"UPDATE membership SET character_id = ? WHERE region_id IN {AMONG}", (new, taken))
                connection.execute(
                    f"DELETE FROM face_label WHERE character_id = ? AND region_id IN {AMONG}", (character_id, taken)
                )
                _write_labels(connection, sorted(group), character_id, "not", now)
                connection.execute(
                    f"INSERT INTO face_label SELECT region_id, ?, 'is', ? FROM membership"
                    f" WHERE source = 'confirmed' AND region_id IN {AMONG}",
                    (new, now, taken),
                )
            update_character(connection, character_id, {"curated": 1})
            separated = sorted([character_id, *made])
            connection.executemany(
                "INSERT OR IGNORE INTO character_separation (one_id, other_id) VALUES (?, ?)",
                [(one, other) for index, one in enumerate(separated) for other in separated[index + 1 :]],
            )
            text = f"split {', '.join(map(str, made))} off {_describe_character(connection, character_id)}"
            number = self._write_log(connection, "split", text, before)
        self._characters.notify({character_id, *made})
        return number, made

    def confirm(self, character_id: int, regions: Collection[int]) -> int:
        with self._database.write(durable=True) as connection:
            before, touched = self._snapshot_with_owners(connection, regions, character_id)
            _confirm_faces(connection, character_id, regions, self._clock())
            update_character(connection, character_id, {"curated": 1})
            number = self._write_log(
                connection,
                "confirm",
                f"{_describe_faces(regions)} confirmed as {_describe_character(connection, character_id)}",
                before,
            )
        self._characters.notify(touched)
        return number

    def reject(self, character_id: int, regions: Collection[int]) -> int:
        with self._database.write(durable=True) as connection:
            before, touched = self._snapshot_with_owners(connection, regions, character_id)
            _write_labels(connection, regions, character_id, "not", self._clock())
            connection.execute(
                f"DELETE FROM membership WHERE character_id = ? AND region_id IN {AMONG}",
                (character_id, ids_json(regions)),
            )
            number = self._write_log(
                connection,
                "reject",
                f"{_describe_faces(regions)}: not {_describe_character(connection, character_id)}",
                before,
            )
        self._characters.notify(touched)
        return number

    def keep_apart(self, one: int, other: int) -> int:
        with self._database.write(durable=True) as connection:
            before = snapshot_characters(connection, [one, other])
            connection.execute(
                "INSERT OR IGNORE INTO character_separation (one_id, other_id) VALUES (?, ?)", sorted((one, other))
            )
            return self._write_log(
                connection,
                "apart",
                f"{_describe_character(connection, one)} and {_describe_character(connection, other)} are different",
                before,
            )

    def history(self, limit: int, *, before: int | None = None) -> list[CorrectionRow]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id, at, kind, text, undone_at FROM correction WHERE id < coalesce(?, id + 1) ORDER BY id DESC LIMIT ?",
                (before, limit),
            )
            return [CorrectionRow(*row) for row in rows]

    def describe(self, number: int) -> str:
        with self._database.read() as connection:
            (text,) = connection.execute("SELECT text FROM correction WHERE id = ?", (number,)).fetchone()
        return str(text)

    def undo(self, number: int | None = None) -> CorrectionRow:
        with self._database.write(durable=True) as connection:
            row = find_undoable(connection, number)
            before = CorrectionSnapshot(**json.loads(row[4]))
            refuse_if_later_overlaps(connection, row[0], before)
            touched = restore_snapshot(connection, before)
            now = self._clock()
            connection.execute("UPDATE correction SET undone_at = ? WHERE id = ?", (now, row[0]))
            connection.execute(
                "INSERT INTO correction (at, kind, text, undone_at, before) VALUES (?, 'undo', ?, ?, '{}')",
                (now, f"undid {row[0]}: {row[3]}", now),
            )
        self._characters.notify(touched)
        return CorrectionRow(row[0], row[1], row[2], row[3], now)

    def _refuse_taken_name(self, connection: Connection, name: str, way: str, but: int = 0) -> None:
        """Raise UsageError when a character other than `but` has the name; `way` is the command for identical ones."""
        taken = connection.execute(
            "SELECT id FROM character WHERE name_key = ? AND id <> ?", (character_name_key(name) or None, but)
        ).fetchone()
        if taken is not None:
            raise UsageError(
                f"character {taken[0]} is named {name} already; if both are the same one, run `{way.format(*taken)}`"
            )

    def _snapshot_with_owners(
        self, connection: Connection, regions: Collection[int], *characters: int
    ) -> tuple[CorrectionSnapshot, set[int]]:
        """A snapshot of these characters and faces, and the characters that gain or lose faces."""
        if not regions:
            raise UsageError("name at least one face")
        known = {
            one for (one,) in connection.execute(f"SELECT id FROM region WHERE id IN {AMONG}", (ids_json(regions),))
        }
        unknown = sorted(set(regions) - known)
        if unknown:
            raise NothingFound(f"there is no face {unknown[0]}; `indexd show IMAGE` lists the faces of an image")
        before = snapshot_characters(connection, characters)
        snapshot_faces(connection, before, sorted(known))
        return before, {*characters, *(int(one[0]) for one in before.members.values() if one is not None)}

    def _write_log(self, connection: Connection, kind: str, text: str, before: CorrectionSnapshot) -> int:
        connection.execute(
            "INSERT INTO correction (at, kind, text, before) VALUES (?, ?, ?, ?)",
            (self._clock(), kind, text, before.to_json()),
        )
        return connection.last_insert_rowid()


def _write_labels(connection: Connection, regions: Collection[int], character_id: int, label: str, now: float) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO face_label (region_id, character_id, label, labelled_at) VALUES (?, ?, ?, ?)",
        [(one, character_id, label, now) for one in regions],
    )


def _confirm_faces(connection: Connection, character_id: int, regions: Collection[int], now: float) -> None:
    """Make these faces confirmed members of this character, whoever had them before."""
    connection.execute(f"DELETE FROM face_label WHERE label = 'is' AND region_id IN {AMONG}", (ids_json(regions),))
    _write_labels(connection, regions, character_id, "is", now)
    connection.executemany(
        "INSERT OR REPLACE INTO membership (region_id, character_id, source) VALUES (?, ?, 'confirmed')",
        [(one, character_id) for one in regions],
    )


def _describe_faces(regions: Collection[int]) -> str:
    few = sorted(regions)
    if len(few) == 1:
        return f"face {few[0]}"
    return f"{len(few)} faces ({', '.join(map(str, few[:3]))}{', ...' if len(few) > 3 else ''})"


def _describe_character(connection: Connection, character_id: int) -> str:
    row = connection.execute("SELECT name FROM character WHERE id = ?", (character_id,)).fetchone()
    return f"{row[0]} ({character_id})" if row and row[0] else str(character_id)
