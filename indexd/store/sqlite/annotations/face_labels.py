"""Export and import of face labels of named characters by content.

Runs in the caller's transaction. Two indexes share the names of characters, not the ids of characters and faces.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from indexd.store.records import FaceLabel
from indexd.store.sqlite.adapters import ids_json, utf8_text
from indexd.store.sqlite.annotations.pending_face_labels import (
    PendingFaceLabel,
    apply_pending_face_labels,
    store_pending_labels,
)
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.faces.characters import character_name_key, create_character

_SELECT_LABELS = """
SELECT image_id, kind, left, top, width, height, name, 'member', 0, hidden, threshold
FROM region JOIN membership ON membership.region_id = region.id JOIN character ON character.id = character_id
WHERE name_key IS NOT NULL AND source <> 'confirmed' AND image_id IN (SELECT value FROM json_each(?))
UNION ALL
SELECT image_id, kind, left, top, width, height, name, label, labelled_at, hidden, threshold
FROM region JOIN face_label ON face_label.region_id = region.id JOIN character ON character.id = character_id
WHERE name_key IS NOT NULL AND image_id IN (SELECT value FROM json_each(?))
"""
HAS_FACE_LABEL_SQL = """
EXISTS (SELECT 1 FROM region JOIN membership ON membership.region_id = region.id
        JOIN character ON character.id = character_id AND name_key IS NOT NULL WHERE region.image_id = image.id)
OR EXISTS (SELECT 1 FROM region JOIN face_label ON face_label.region_id = region.id
           JOIN character ON character.id = character_id AND name_key IS NOT NULL WHERE region.image_id = image.id)
"""
"""An `image` has a face of a named character, or a face with a label for one."""


def read_face_labels(connection: Connection, images: Collection[int]) -> dict[int, list[FaceLabel]]:
    """The labels of the faces of these images; images without a named face are omitted."""
    wanted = ids_json(images)
    found: dict[int, list[FaceLabel]] = {}
    for image_id, kind, left, top, width, height, name, label, at, hidden, threshold in connection.execute(
        _SELECT_LABELS, (wanted, wanted)
    ):
        box = (left, top, width, height)
        found.setdefault(image_id, []).append(FaceLabel(kind, box, name, label, at, bool(hidden), threshold))
    return found


def read_pending_face_labels(connection: Connection, hashes: Iterable[bytes]) -> dict[bytes, list[FaceLabel]]:
    """The pending face labels of these contents."""
    found: dict[bytes, list[FaceLabel]] = {}
    for content_hash in hashes:
        for kind, left, top, width, height, name, label, at, hidden, threshold in connection.execute(
            "SELECT kind, left, top, width, height, name, label, labelled_at, hidden, threshold FROM pending_face_label"
            " JOIN character ON character.id = character_id WHERE name_key IS NOT NULL AND content_hash = ?",
            (content_hash,),
        ):
            box = (left, top, width, height)
            found.setdefault(content_hash, []).append(FaceLabel(kind, box, name, label, at, bool(hidden), threshold))
    return found


def import_face_labels(
    connection: Connection, given: Mapping[bytes, Collection[FaceLabel]], ids: Mapping[bytes, int], now: float
) -> tuple[set[bytes], set[int]]:
    """Import face labels by content: apply those of known images (`ids`), defer the others, create characters by name.

    Labels of this index take precedence. Returns the changed contents and the changed characters.
    """
    changed: set[bytes] = set()
    touched: set[int] = set()
    for content_hash, faces in given.items():
        before = _label_state(connection, content_hash, ids.get(content_hash))
        store_pending_labels(
            connection,
            (
                PendingFaceLabel(
                    content_hash,
                    one.kind,
                    one.box,
                    _character_for_label(connection, one, now),
                    one.verdict,
                    one.labelled_at,
                )
                for one in faces
            ),
        )
        if content_hash in ids:
            touched |= apply_pending_face_labels(connection, [ids[content_hash]])
        if _label_state(connection, content_hash, ids.get(content_hash)) != before:
            changed.add(content_hash)
    return changed, touched


def _label_state(connection: Connection, content_hash: bytes, image_id: int | None) -> object:
    known = read_face_labels(connection, [image_id]) if image_id is not None else {}
    pending = read_pending_face_labels(connection, [content_hash])
    return (
        sorted(known.get(image_id or 0, []), key=repr),
        sorted(pending.get(content_hash, []), key=repr),
    )


def _character_for_label(connection: Connection, face: FaceLabel, now: float) -> int:
    key = character_name_key(face.name)
    row = connection.execute("SELECT id FROM character WHERE name_key = ?", (key,)).fetchone()
    if row is not None:
        return int(row[0])
    made = create_character(connection, now, curated=True)
    connection.execute(
        "UPDATE character SET name = ?, name_key = ?, hidden = ?, threshold = ? WHERE id = ?",
        (utf8_text(face.name).strip(), key, int(face.hidden), face.threshold, made),
    )
    return made
