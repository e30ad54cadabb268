"""Face labels of images that are not in the index, and their application once the face is detected there.

Runs in the caller's transaction. A face is the same in the same content when its box overlaps by SAME_REGION_IOU. The
verdict "member" is weaker than "is": the clustering assigned the face to a character that the user named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from indexd.store.records import LabelVerdict
from indexd.store.sqlite.adapters import ids_json
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.faces.regions import SAME_REGION_IOU, regions_by_image
from indexd.worker.calls import Box, intersection_over_union


@dataclass(frozen=True, slots=True)
class PendingFaceLabel:
    """A label of the face in this box (left, top, width, height: shares of the upright image) of a content."""

    content_hash: bytes
    kind: str
    box: Box
    character_id: int
    verdict: LabelVerdict
    labelled_at: float


def defer_face_labels(connection: Connection, images: Collection[int]) -> None:
    """Store the face labels of these images, which are about to be forgotten, by their contents."""
    store_pending_labels(connection, _read_labels(connection, images))


def inherit_face_labels(connection: Connection, heir: int, olds: Collection[int]) -> set[int]:
    """Copy the face labels of `olds` to the faces of `heir`, which shows the same image; labels of `heir` take precedence.

    A face that is not detected yet gets its label later. Returns the changed characters.
    """
    labels = _read_labels(connection, olds)
    if not labels:
        return set()
    (content_hash,) = connection.execute("SELECT content_hash FROM image WHERE id = ?", (heir,)).fetchall()[0]
    store_pending_labels(connection, (replace(one, content_hash=content_hash) for one in labels))
    return apply_pending_face_labels(connection, [heir])


def images_with_face_labels(connection: Connection, images: Collection[int]) -> set[int]:
    """Those of these images that have a face label."""
    return {
        image_id
        for (image_id,) in connection.execute(
            "SELECT DISTINCT image_id FROM region JOIN face_label ON region_id = region.id"
            " WHERE image_id IN (SELECT value FROM json_each(?))",
            (ids_json(images),),
        )
    }


def _read_labels(connection: Connection, images: Collection[int]) -> list[PendingFaceLabel]:
    rows = connection.execute(
        "SELECT content_hash, kind, left, top, region.width, region.height, character_id, label, labelled_at FROM face_label"
        " JOIN region ON region.id = region_id JOIN image ON image.id = image_id"
        " WHERE image_id IN (SELECT value FROM json_each(?))",
        (ids_json(images),),
    ).fetchall()
    return [PendingFaceLabel(row[0], row[1], (row[2], row[3], row[4], row[5]), *row[6:]) for row in rows]


def store_pending_labels(connection: Connection, labels: Iterable[PendingFaceLabel]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO pending_face_label VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(one.content_hash, one.kind, *one.box, one.character_id, one.verdict, one.labelled_at) for one in labels],
    )


def apply_pending_face_labels(connection: Connection, images: Collection[int]) -> set[int]:
    """Apply the pending labels of these images to their faces; returns the characters whose faces changed."""
    if connection.execute("SELECT 1 FROM pending_face_label LIMIT 1").fetchone() is None:
        return set()
    pending: dict[int, list[PendingFaceLabel]] = {}
    for image_id, *row in connection.execute(
        "SELECT image.id, pending_face_label.content_hash, kind, left, top, pending_face_label.width, pending_face_label.height,"
        " character_id, label, labelled_at FROM image JOIN pending_face_label USING (content_hash)"
        " WHERE image.id IN (SELECT value FROM json_each(?))",
        (ids_json(images),),
    ):
        pending.setdefault(image_id, []).append(
            PendingFaceLabel(row[0], row[1], (row[2], row[3], row[4], row[5]), *row[6:])
        )
    changed: set[int] = set()
    known = regions_by_image(connection, pending)
    for image_id, labels in pending.items():
        for label in labels:
            overlaps = [
                (intersection_over_union(label.box, row.region.box), row.id)
                for row in known.get(image_id, [])
                if row.region.kind == label.kind
            ]
            overlap, region_id = max(overlaps, default=(0.0, 0))
            if overlap >= SAME_REGION_IOU:
                _apply_label(connection, region_id, label)
                changed.add(label.character_id)
    return changed


def _apply_label(connection: Connection, region_id: int, label: PendingFaceLabel) -> None:
    if label.verdict != "member":
        # Newer labels of the face take precedence.
        connection.execute(
            "INSERT OR IGNORE INTO face_label (region_id, character_id, label, labelled_at) VALUES (?, ?, ?, ?)",
            (region_id, label.character_id, label.verdict, label.labelled_at),
        )
    if label.verdict == "not":
        connection.execute(
            "DELETE FROM membership WHERE region_id = ? AND character_id = ? AND source <> 'confirmed'",
            (region_id, label.character_id),
        )
    else:
        # A membership from a clustering yields to a rejection, and to a curated character that has the face now.
        connection.execute(
            "INSERT INTO membership (region_id, character_id, source) SELECT ?1, ?2, ?3 WHERE ?3 = 'confirmed' OR NOT EXISTS"
            " (SELECT 1 FROM face_label WHERE region_id = ?1 AND character_id = ?2 AND label = 'not')"
            " ON CONFLICT (region_id) DO UPDATE SET character_id = excluded.character_id, source = excluded.source"
            " WHERE source <> 'confirmed' AND (excluded.source = 'confirmed'"
            "                                  OR membership.character_id NOT IN (SELECT id FROM character WHERE curated))",
            (region_id, label.character_id, "confirmed" if label.verdict == "is" else "cluster"),
        )
    connection.execute(
        "DELETE FROM pending_face_label WHERE content_hash = ? AND kind = ? AND left = ? AND top = ? AND width = ?"
        " AND height = ? AND character_id = ?",
        (label.content_hash, label.kind, *label.box, label.character_id),
    )
