"""Edited files: a new content that replaced an annotated one at the same path inherits its annotations.

The path alone is no evidence: `output.png` may be overwritten with an unrelated image. So each candidate is an index task
of the stage `replacement` until a decode worker has compared both images. Annotations are copied, never moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from indexd.store.protocols.annotations import ReplacementRepository
from indexd.store.records.indexing import REPLACEMENT_STAGE
from indexd.store.sqlite.adapters import ids_json
from indexd.store.sqlite.annotations.merge import add_annotations, read_annotations
from indexd.store.sqlite.annotations.pending_face_labels import images_with_face_labels, inherit_face_labels
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.faces.characters import CharacterTables


class Replacements(ReplacementRepository):
    """Replacement candidates by new image."""

    def __init__(self, database: Database, characters: CharacterTables) -> None:
        self._database = database
        self._characters = characters

    def candidates(self, new_ids: Iterable[int]) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        with self._database.read() as connection:
            for new_id, old_id in connection.execute(
                "SELECT new_id, old_id FROM replacement WHERE new_id IN (SELECT value FROM json_each(?))",
                (ids_json(new_ids),),
            ):
                found.setdefault(new_id, []).append(old_id)
        return found

    def settle(self, verdicts: Mapping[int, Mapping[int, bool]]) -> int:
        with self._database.write(durable=True) as connection:
            same = {new: [old for old, is_same in olds.items() if is_same] for new, olds in verdicts.items()}
            annotations = read_annotations(connection, {old for olds in same.values() for old in olds})
            inherited = {new: [annotations[old] for old in olds if old in annotations] for new, olds in same.items()}
            changed = add_annotations(connection, {new: sets for new, sets in inherited.items() if sets})
            characters = {one for new, olds in same.items() for one in inherit_face_labels(connection, new, olds)}
            connection.executemany(
                "DELETE FROM replacement WHERE new_id = ? AND old_id = ?",
                [(new, old) for new, olds in verdicts.items() for old in olds],
            )
            for new in verdicts:
                # Candidates recorded during the comparison are compared next.
                connection.execute(
                    "UPDATE index_task SET state = 'pending', attempts = 0 WHERE stage = ? AND image_id = ?",
                    (REPLACEMENT_STAGE, new),
                )
                connection.execute(
                    "DELETE FROM index_task WHERE stage = ? AND image_id = ?"
                    " AND NOT EXISTS (SELECT 1 FROM replacement WHERE new_id = ?)",
                    (REPLACEMENT_STAGE, new, new),
                )
        self._characters.notify(characters)
        return sum(changed.values())


def record_replacements(connection: Connection, pairs: Sequence[tuple[int, int]]) -> None:
    """Record pairs (old, new): `new` is at the path of `old`. Runs in the caller's transaction.

    An old image counts when it has annotations, or is itself an undecided replacement: three saves in a row form a chain
    whose middle image may never be decoded.
    """
    if not pairs:
        return
    olds = {old for old, _ in pairs}
    annotated = read_annotations(connection, olds).keys() | images_with_face_labels(connection, olds)
    for old, new in pairs:
        before = connection.execute("SELECT old_id FROM replacement WHERE new_id = ?", (old,)).fetchall()
        candidates = {one for (one,) in before} | ({old} if old in annotated else set())
        candidates.discard(new)
        for candidate in candidates:
            connection.execute("INSERT OR IGNORE INTO replacement (new_id, old_id) VALUES (?, ?)", (new, candidate))
        if candidates:
            connection.execute(
                "INSERT INTO index_task (stage, image_id) VALUES (?, ?)"
                " ON CONFLICT (stage, image_id) DO UPDATE SET not_before = 0, error = NULL,"
                " state = iif(state = 'failed', 'pending', state)",
                (REPLACEMENT_STAGE, new),
            )
