"""What was said of faces whose picture is not in the index (any more, or yet), and its return when the face is found there.

Inside the caller's transaction. A face is the same when it lies in the same content and its box overlaps as regions.matched
asks for. The word "member" is weaker than "is": it came from a clustering that a person then named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from indexd.store.database import Connection
from indexd.store.regions import SAME_OVERLAP, regions_of
from indexd.store.values import ids_json
from indexd.worker.calls import Box, overlap

Word = Literal["is", "not", "member"]


@dataclass(frozen=True, slots=True)
class SaidOfFace:
    """A word about the face in this box (left, top, width, height: shares of the upright picture) of a content."""

    content_hash: bytes
    kind: str
    box: Box
    character_id: int
    word: Word
    said_at: float


def let_faces_wait(connection: Connection, images: Collection[int]) -> None:
    """Keep what was said of the faces of these images, which are about to be forgotten, for their contents."""
    rows = connection.execute(
        "SELECT content_hash, kind, left, top, region.width, region.height, character_id, word, said_at FROM face_word"
        " JOIN region ON region.id = region_id JOIN image ON image.id = image_id"
        " WHERE image_id IN (SELECT value FROM json_each(?))",
        (ids_json(images),),
    ).fetchall()
    hold(connection, (SaidOfFace(row[0], row[1], (row[2], row[3], row[4], row[5]), *row[6:]) for row in rows))


def hold(connection: Connection, said: Iterable[SaidOfFace]) -> None:
    """Let these words wait."""
    connection.executemany(
        "INSERT OR REPLACE INTO waiting_face VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(one.content_hash, one.kind, *one.box, one.character_id, one.word, one.said_at) for one in said],
    )


def take_waiting_faces(connection: Connection, images: Collection[int]) -> set[int]:
    """Put what waited for the faces of these images on them; returns the characters whose faces that changed."""
    if connection.execute("SELECT 1 FROM waiting_face LIMIT 1").fetchone() is None:
        return set()
    waiting: dict[int, list[SaidOfFace]] = {}
    for image_id, *row in connection.execute(
        "SELECT image.id, waiting_face.content_hash, kind, left, top, waiting_face.width, waiting_face.height,"
        " character_id, word, said_at FROM image JOIN waiting_face USING (content_hash)"
        " WHERE image.id IN (SELECT value FROM json_each(?))",
        (ids_json(images),),
    ):
        waiting.setdefault(image_id, []).append(SaidOfFace(row[0], row[1], (row[2], row[3], row[4], row[5]), *row[6:]))
    touched: set[int] = set()
    known = regions_of(connection, waiting)
    for image_id, words in waiting.items():
        for said in words:
            near = [
                (overlap(said.box, row.region.box), row.id)
                for row in known.get(image_id, [])
                if row.region.kind == said.kind
            ]
            shared, region_id = max(near, default=(0.0, 0))
            if shared >= SAME_OVERLAP:
                _put(connection, region_id, said)
                touched.add(said.character_id)
    return touched


def _put(connection: Connection, region_id: int, said: SaidOfFace) -> None:
    if said.word != "member":
        # What was said of the face meanwhile stays.
        connection.execute(
            "INSERT OR IGNORE INTO face_word (region_id, character_id, word, said_at) VALUES (?, ?, ?, ?)",
            (region_id, said.character_id, said.word, said.said_at),
        )
    if said.word == "not":
        connection.execute(
            "DELETE FROM membership WHERE region_id = ? AND character_id = ? AND source <> 'confirmed'",
            (region_id, said.character_id),
        )
    else:
        # A clustering's word gives way to a person's: a rejection, or a character of hers that has the face now.
        connection.execute(
            "INSERT INTO membership (region_id, character_id, source) SELECT ?1, ?2, ?3 WHERE ?3 = 'confirmed' OR NOT EXISTS"
            " (SELECT 1 FROM face_word WHERE region_id = ?1 AND character_id = ?2 AND word = 'not')"
            " ON CONFLICT (region_id) DO UPDATE SET character_id = excluded.character_id, source = excluded.source"
            " WHERE source <> 'confirmed' AND (excluded.source = 'confirmed'"
            "                                  OR membership.character_id NOT IN (SELECT id FROM character WHERE kept))",
            (region_id, said.character_id, "confirmed" if said.word == "is" else "cluster"),
        )
    connection.execute(
        "DELETE FROM waiting_face WHERE content_hash = ? AND kind = ? AND left = ? AND top = ? AND width = ?"
        " AND height = ? AND character_id = ?",
        (said.content_hash, said.kind, *said.box, said.character_id),
    )
