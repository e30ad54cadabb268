"""Export and import of all annotations by content hash."""

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
    """Exports pages of images by id, then pages of pending annotations. The cursor is opaque to callers."""

    def __init__(
        self, database: Database, clock: Callable[[], float], on_faces: Callable[[Collection[int]], None]
    ) -> None:
        """`on_faces` receives the characters whose faces changed, after the commit."""
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
            annotations = read_pending_annotations(connection, hashes)
            faces = read_pending_face_labels(connection, hashes)
            pending = [
                ExportedAnnotations(
                    one, annotations.get(one, AnnotationSet()), faces=tuple(sorted(faces.get(one, []), key=repr))
                )
                for one in hashes
            ]
            return pending, f"pending:{hashes[-1].hex()}" if len(hashes) == limit else None

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
                known = {ids[one]: (annotations,) for one, annotations in given.items() if one in ids}
                unknown = {one: annotations for one, annotations in given.items() if one not in ids}
                nonempty = {one: annotations for one, annotations in unknown.items() if annotations}
                changes = add_annotations(connection, known, prefer_given=prefer_given)
                deferred = defer_annotations(connection, nonempty, prefer_given=prefer_given)
                changed_faces, characters = import_face_labels(connection, faces or {}, ids, self._clock())
                changed = {content_hash for content_hash, differs in deferred.items() if differs}
                changed |= {content_hash for content_hash, image_id in ids.items() if changes[image_id]}
                changed |= changed_faces
                result = ImportResult(len(changed), len(given) - len(changed), len(unknown))
                if dry_run:
                    raise _DryRunRollback(result)
        except _DryRunRollback as rollback:
            return rollback.result
        self._on_faces(characters)
        return result

    def count_pending(self) -> int:
        with self._database.read() as connection:
            count: int = connection.execute("SELECT count(*) FROM pending_annotation").fetchall()[0][0]
        return count


class _DryRunRollback(Exception):
    """Rolls a dry run back; never leaves this module."""

    def __init__(self, result: ImportResult) -> None:
        super().__init__()
        self.result = result


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
    annotations, files = read_annotations(connection, ids), files_by_image(connection, ids_json(ids))
    faces = read_face_labels(connection, ids)
    found = []
    for image_id, content_hash in rows:
        of_image = files.get(image_id, [])
        paths = tuple(file.path for file in of_image if file.missing_since is None)
        name = of_image[0].rel.decode("utf-8", "replace") if of_image else None
        labels = tuple(sorted(faces.get(image_id, []), key=repr))
        found.append(
            ExportedAnnotations(content_hash, annotations.get(image_id, AnnotationSet()), image_id, name, paths, labels)
        )
    return found
