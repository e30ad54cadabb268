"""Everything that people put in, by content: given out in pages, and taken in again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from indexd.store.protocols.annotations import AnnotationExchangeRepository
from indexd.store.records import AnnotationSet, ExportedAnnotations, FaceLabel, ImportResult
from indexd.store.sqlite.adapters import ids_json
from indexd.store.sqlite.annotations.face_labels import (
    HAS_FACE_LABEL_SQL,
    import_face_labels,
    read_face_labels,
    read_pending_face_labels,
)
from indexd.store.sqlite.annotations.merge import (
    add_annotations,
    defer_annotations,
    read_annotations,
    read_pending_annotations,
)
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.library.files import files_by_image


class AnnotationExchange(AnnotationExchangeRepository):
    """Marks by content. Pages go by image id, then through what waits; the cursor is opaque to others."""

    def __init__(
        self, database: Database, clock: Callable[[], float], on_faces: Callable[[Collection[int]], None]
    ) -> None:
        """`on_faces` hears which characters got other faces, after the commit."""
        self._database = database
        self._clock = clock
        self._on_faces = on_faces

    def export_page(
        self, cursor: str, limit: int, among: Collection[int] | None = None
    ) -> tuple[list[ExportedAnnotations], str | None]:
        with self._database.read() as connection:
            where, _, after = cursor.partition(":")
            if where != "pending":
                found = _export_images(connection, int(after or 0), limit, among)
                if len(found) == limit:
                    return found, f"image:{found[-1].image_id}"
                return found, None if among is not None else "pending:"
            rows = connection.execute(
                "SELECT content_hash FROM pending_annotation WHERE content_hash > ?1"
                " UNION SELECT content_hash FROM pending_face_label JOIN character ON character.id = character_id"
                " WHERE name_key IS NOT NULL AND content_hash > ?1 ORDER BY content_hash LIMIT ?2",
                (bytes.fromhex(after), limit),
            ).fetchall()
            hashes = [content_hash for (content_hash,) in rows]
            marks, faces = read_pending_annotations(connection, hashes), read_pending_face_labels(connection, hashes)
            waiting = [
                ExportedAnnotations(
                    one, marks.get(one, AnnotationSet()), faces=tuple(sorted(faces.get(one, []), key=repr))
                )
                for one in hashes
            ]
            return waiting, f"pending:{hashes[-1].hex()}" if len(hashes) == limit else None

    def import_annotations(
        self,
        given: Mapping[bytes, AnnotationSet],
        faces: Mapping[bytes, Collection[FaceLabel]] | None = None,
        *,
        prefer_given: bool = False,
        dry_run: bool = False,
    ) -> ImportResult:
        try:
            with self._database.write(durable=True) as connection:
                ids = _image_ids_by_hash(connection, given)
                known = {ids[content_hash]: (marks,) for content_hash, marks in given.items() if content_hash in ids}
                unknown = {content_hash: marks for content_hash, marks in given.items() if content_hash not in ids}
                marked = {content_hash: marks for content_hash, marks in unknown.items() if marks}
                changes = add_annotations(connection, known, prefer_given=prefer_given)
                waits = defer_annotations(connection, marked, prefer_given=prefer_given)
                other_faces, characters = import_face_labels(connection, faces or {}, ids, self._clock())
                others = {content_hash for content_hash, differs in waits.items() if differs}
                others |= {content_hash for content_hash, image_id in ids.items() if changes[image_id]}
                changed = len(others | other_faces)
                taken = ImportResult(changed, len(given) - changed, len(unknown))
                if dry_run:
                    raise _DryRunRollback(taken)
        except _DryRunRollback as asked:
            return asked.result
        self._on_faces(characters)
        return taken

    def count_pending(self) -> int:
        with self._database.read() as connection:
            count: int = connection.execute("SELECT count(*) FROM pending_annotation").fetchall()[0][0]
        return count


class _DryRunRollback(Exception):
    """Rolls a dry run back; never leaves this module."""

    def __init__(self, taken: ImportResult) -> None:
        super().__init__()
        self.result = taken


def _image_ids_by_hash(connection: Connection, hashes: Collection[bytes]) -> dict[bytes, int]:
    found = {}
    for content_hash in hashes:
        row = connection.execute("SELECT id FROM image WHERE content_hash = ?", (content_hash,)).fetchone()
        if row is not None:
            found[content_hash] = row[0]
    return found


def _export_images(
    connection: Connection, after: int, limit: int, among: Collection[int] | None
) -> list[ExportedAnnotations]:
    restricted = "" if among is None else "AND id IN (SELECT value FROM json_each(?))"
    rows = connection.execute(
        f"""
        SELECT id, content_hash FROM image
        WHERE id > ? AND (EXISTS (SELECT 1 FROM rating WHERE rating.image_id = image.id)
                          OR EXISTS (SELECT 1 FROM note WHERE note.image_id = image.id)
                          OR EXISTS (SELECT 1 FROM tag WHERE tag.image_id = image.id) OR {HAS_FACE_LABEL_SQL})
          {restricted}
        ORDER BY id LIMIT ?
        """,
        (after, limit) if among is None else (after, ids_json(among), limit),
    ).fetchall()
    ids = [image_id for image_id, _ in rows]
    marks, files = read_annotations(connection, ids), files_by_image(connection, ids_json(ids))
    faces = read_face_labels(connection, ids)
    found = []
    for image_id, content_hash in rows:
        lies = files.get(image_id, [])
        places = tuple(file.path for file in lies if file.missing_since is None)
        name = lies[0].rel.decode("utf-8", "replace") if lies else None
        known = tuple(sorted(faces.get(image_id, []), key=repr))
        found.append(
            ExportedAnnotations(content_hash, marks.get(image_id, AnnotationSet()), image_id, name, places, known)
        )
    return found
