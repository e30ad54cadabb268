"""Faces of named characters by content: as they leave in an export, and as they are taken in again.

Inside the caller's transaction. Names are what two indexes have in common; numbers of characters and faces are not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from indexd.store.characters import make_character, name_key
from indexd.store.database import Connection
from indexd.store.values import ids_json, plain_text
from indexd.store.waiting_faces import SaidOfFace, Word, hold, take_waiting_faces
from indexd.worker.calls import Box

_WORDS = """
SELECT image_id, kind, left, top, width, height, name, 'member', 0, hidden, threshold
FROM region JOIN membership ON membership.region_id = region.id JOIN character ON character.id = character_id
WHERE name_key IS NOT NULL AND source <> 'confirmed' AND image_id IN (SELECT value FROM json_each(?))
UNION ALL
SELECT image_id, kind, left, top, width, height, name, word, said_at, hidden, threshold
FROM region JOIN face_word ON face_word.region_id = region.id JOIN character ON character.id = character_id
WHERE name_key IS NOT NULL AND image_id IN (SELECT value FROM json_each(?))
"""
OF_NAMED = """
EXISTS (SELECT 1 FROM region JOIN membership ON membership.region_id = region.id
        JOIN character ON character.id = character_id AND name_key IS NOT NULL WHERE region.image_id = image.id)
OR EXISTS (SELECT 1 FROM region JOIN face_word ON face_word.region_id = region.id
           JOIN character ON character.id = character_id AND name_key IS NOT NULL WHERE region.image_id = image.id)
"""
"""The condition on an `image` that it has a face of a named character, or one of which it was said that it is not."""


@dataclass(frozen=True, slots=True, order=True)
class NamedFace:
    """A face and the name of its character. `word`: a person said is or not; member = a clustering put it there.

    `said_at` is seconds since the epoch (0 for a member); `threshold` None = that of the settings.
    """

    kind: str
    box: Box
    name: str
    word: Word
    said_at: float = 0.0
    hidden: bool = False
    threshold: float | None = None


def read_named_faces(connection: Connection, images: Collection[int]) -> dict[int, list[NamedFace]]:
    """What is known of the faces of these images; images with no named one are left out."""
    wanted = ids_json(images)
    found: dict[int, list[NamedFace]] = {}
    for image_id, kind, left, top, width, height, name, word, at, hidden, threshold in connection.execute(
        _WORDS, (wanted, wanted)
    ):
        box = (left, top, width, height)
        found.setdefault(image_id, []).append(NamedFace(kind, box, name, word, at, bool(hidden), threshold))
    return found


def read_waiting_faces(connection: Connection, hashes: Iterable[bytes]) -> dict[bytes, list[NamedFace]]:
    """The same of what waits for these contents."""
    found: dict[bytes, list[NamedFace]] = {}
    for content_hash in hashes:
        for kind, left, top, width, height, name, word, at, hidden, threshold in connection.execute(
            "SELECT kind, left, top, width, height, name, word, said_at, hidden, threshold FROM waiting_face"
            " JOIN character ON character.id = character_id WHERE name_key IS NOT NULL AND content_hash = ?",
            (content_hash,),
        ):
            box = (left, top, width, height)
            found.setdefault(content_hash, []).append(NamedFace(kind, box, name, word, at, bool(hidden), threshold))
    return found


def take_in_faces(
    connection: Connection, given: Mapping[bytes, Collection[NamedFace]], ids: Mapping[bytes, int], now: float
) -> tuple[set[bytes], set[int]]:
    """Take faces in by content: those of known images (`ids`) at once, the others wait. Characters are made by name.

    Returns the contents of which anything changed, and the characters. What was said here of a face stays.
    """
    changed: set[bytes] = set()
    touched: set[int] = set()
    for content_hash, faces in given.items():
        before = _state(connection, content_hash, ids.get(content_hash))
        hold(
            connection,
            (
                SaidOfFace(content_hash, one.kind, one.box, _named(connection, one, now), one.word, one.said_at)
                for one in faces
            ),
        )
        if content_hash in ids:
            touched |= take_waiting_faces(connection, [ids[content_hash]])
        if _state(connection, content_hash, ids.get(content_hash)) != before:
            changed.add(content_hash)
    return changed, touched


def _state(connection: Connection, content_hash: bytes, image_id: int | None) -> object:
    known = read_named_faces(connection, [image_id]) if image_id is not None else {}
    waiting = read_waiting_faces(connection, [content_hash])
    return (
        sorted(known.get(image_id or 0, []), key=repr),
        sorted(waiting.get(content_hash, []), key=repr),
    )


def _named(connection: Connection, face: NamedFace, now: float) -> int:
    key = name_key(face.name)
    row = connection.execute("SELECT id FROM character WHERE name_key = ?", (key,)).fetchone()
    if row is not None:
        return int(row[0])
    made = make_character(connection, now, kept=True)
    connection.execute(
        "UPDATE character SET name = ?, name_key = ?, hidden = ?, threshold = ? WHERE id = ?",
        (plain_text(face.name).strip(), key, int(face.hidden), face.threshold, made),
    )
    return made
