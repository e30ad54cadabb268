"""Export and import of all annotations by content hash."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from indexd.store.protocols.annotations import AnnotationExchangeRepository
from indexd.store.records import AnnotationSet, ExportedAnnotations, FaceLabel, ImportResult
from indexd.store.sqlite.adapters import ids_json, utf8_text
from indexd.store.sqlite.annotations.merge import (
    add_annotations,
    defer_annotations,
    read_annotations,
    read_pending_annotations,
)
from indexd.store.sqlite.annotations.pending_face_labels import (
    PendingFaceLabel,
    apply_pending_face_labels,
    store_pending_labels,
)
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.faces.characters import character_name_key, create_character
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
