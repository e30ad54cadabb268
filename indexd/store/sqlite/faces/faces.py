"""Faces and other regions of images, the vectors of the faces, and notifications about their changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from indexd.background.signal import Signal
from indexd.store.id_set import IdSet
from indexd.store.protocols.faces import FaceRepository
from indexd.store.records import FACE_LAYER, FacesChanged, FaceVectors, RegionRow
from indexd.store.sqlite.adapters import ids_json
from indexd.store.sqlite.annotations.pending_face_labels import apply_pending_face_labels
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.faces.regions import (
    faces_off_since,
    merge_detections,
    region_row,
    regions_by_id,
    regions_by_image,
    set_faces_off_since,
)
from indexd.store.sqlite.library.cascade import annotated_regions
from indexd.store.sqlite.library.image_count import last_image_id
from indexd.store.sqlite.vectors.code_tables import code_set_id
from indexd.store.sqlite.vectors.revisions import Coding, active_coding, get_coding, requeue_all
from indexd.store.sqlite.vectors.rows import prepare_rows, write_rows
from indexd.store.sqlite.vectors.vectors import Floats, Ids, Vectors, require_unit_vectors
from indexd.worker.calls import FoundRegion

# 4 000 half-precision vectors of 1024 are 8 MB. Short reads let the writer reuse its log in between.
SLICE_FACES = 4000
# An image rarely has more faces than this that are all similar to the query.
FACES_PER_IMAGE = 4
_DETECTORS_KEY = "region_detectors"


class FaceTables(FaceRepository):
    """Regions by id. Only the vectors of the layer's active model revision are ever compared."""

    def __init__(self, database: Database, vectors: Vectors) -> None:
        self._database = database
        self._vectors = vectors
        self._changed: Signal[FacesChanged] = Signal("faces changed")

    def subscribe(self, listener: Callable[[FacesChanged], object]) -> Callable[[], None]:
        return self._changed.subscribe(listener)

    def set_enabled(self, *, on: bool) -> None:
        with self._database.read() as connection:
            off_since = faces_off_since(connection)
            # A backup leaves the vectors out; after a restore all of them must be computed again.
            without_vectors = active_coding(connection, FACE_LAYER) is None
        if on == (off_since is None):
            return
        with self._database.write() as connection:
            if on:
                connection.execute(
                    "INSERT OR IGNORE INTO index_task (stage, image_id) SELECT ?, id FROM image"
                    " WHERE decode_problem IS NULL AND id > ?",
                    (FACE_LAYER, 0 if without_vectors else off_since),
                )
            set_faces_off_since(connection, off_since=None if on else last_image_id(connection))

    def activate(self, identity: str, dim: int, detectors: str) -> int:
        with self._database.read() as connection:
            coding = active_coding(connection, FACE_LAYER)
            same_detectors = _read_detectors(connection) == detectors
        if coding is None or coding.revision.identity != identity or coding.revision.dim != dim:
            revision_id = self._vectors.activate(FACE_LAYER, identity, dim, "faces")
            must_requeue = False
        else:
            revision_id, must_requeue = coding.revision.id, not same_detectors
        if not same_detectors:
            with self._database.write() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_DETECTORS_KEY, detectors)
                )
                if must_requeue:
                    requeue_all(connection, FACE_LAYER, "faces")
        return revision_id

    def put(self, revision_id: int, found: Mapping[int, Sequence[FoundRegion]], vectors: Floats) -> None:
        with self._database.read() as connection:
            coding = get_coding(connection, revision_id)
        require_unit_vectors(vectors, (len(vectors), coding.revision.dim))
        rows = [one.row for many in found.values() for one in many if one.row is not None]
        prepared = prepare_rows(coding, np.ascontiguousarray(vectors[rows]))
        with self._database.outside_transaction():
            with self._database.write() as connection:
                if not get_coding(connection, revision_id).active:
                    return
                ids, gone = merge_detections(connection, found)
                apply_pending_face_labels(connection, found)
                with_vector = [
                    region_id
                    for image_id, many in found.items()
                    for region_id, one in zip(ids[image_id], many, strict=True)
                    if one.row is not None
                ]
                now, codes = write_rows(connection, with_vector, prepared)
                connection.execute(
                    "DELETE FROM index_task WHERE stage = ? AND image_id IN (SELECT value FROM json_each(?))",
                    (FACE_LAYER, ids_json(found)),
                )
            self._vectors.notify_written(code_set_id(now), with_vector, codes)
            self.notify(FacesChanged(tuple(with_vector), tuple(gone)))

    def notify(self, change: FacesChanged) -> None:
        """Report a change to the code index and the listeners. Call it after the commit, with the writer's lock held."""
        if change.removed:
            self._vectors.notify_removed("region_id", change.removed)
        if change.put or change.removed:
            self._changed.emit(change)

    def of_image(self, image_id: int) -> list[RegionRow]:
        return self.of_images([image_id]).get(image_id, [])

    def of_images(self, images: Collection[int]) -> dict[int, list[RegionRow]]:
        with self._database.read() as connection:
            found = regions_by_image(connection, images)
        return {
            image_id: sorted(rows, key=lambda row: (-row.region.width * row.region.height, row.id))
            for image_id, rows in found.items()
        }

    def rows(self, ids: Collection[int]) -> dict[int, RegionRow]:
        with self._database.read() as connection:
            return regions_by_id(connection, ids)

    def with_annotations(self, images: Collection[int]) -> dict[int, list[RegionRow]]:
        with self._database.read() as connection:
            found = regions_by_image(connection, images)
            annotated = annotated_regions(connection, [row.id for rows in found.values() for row in rows])
        kept = {image_id: [row for row in rows if row.id in annotated] for image_id, rows in found.items()}
        return {image_id: rows for image_id, rows in kept.items() if rows}

    def image_ids(self, ids: Collection[int]) -> dict[int, int]:
        with self._database.read() as connection:
            return dict(
                connection.execute(
                    "SELECT id, image_id FROM region WHERE id IN (SELECT value FROM json_each(?))", (ids_json(ids),)
                ).fetchall()
            )

    def face_ids(self, images: Collection[int] | None = None) -> IdSet:
        restricted = "" if images is None else "AND image_id IN (SELECT value FROM json_each(?))"
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT id FROM region WHERE kind = ? {restricted}",
                (FACE_LAYER,) if images is None else (FACE_LAYER, ids_json(images)),
            )
            return IdSet(np.fromiter((region_id for (region_id,) in rows), np.int64))

    def regions_after(self, region_id: int, limit: int) -> list[RegionRow]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id, image_id, kind, detector, left, top, width, height, confidence, size_px, sharpness, quality"
                " FROM region WHERE id > ? ORDER BY id LIMIT ?",
                (region_id, limit),
            )
            return [region_row(row) for row in rows]

    def last_id(self) -> int:
        with self._database.read() as connection:
            last: int = connection.execute("SELECT coalesce(max(id), 0) FROM region").fetchall()[0][0]
        return last

    def counts(self) -> dict[str, int]:
        with self._database.read() as connection:
            return dict(connection.execute("SELECT kind, count(*) FROM region GROUP BY kind").fetchall())

    def iter_vectors(self, ids: Collection[int] | None = None, revision_id: int | None = None) -> Iterator[FaceVectors]:
        wanted = None if ids is None else IdSet.of(ids).array
        after, start = 0, 0
        while True:
            with self._database.read() as connection:
                coding = (
                    active_coding(connection, FACE_LAYER)
                    if revision_id is None
                    else get_coding(connection, revision_id)
                )
                if coding is None:
                    return
                # All slices must be of one revision.
                revision_id = coding.revision.id
                part = None if wanted is None else wanted[start : start + SLICE_FACES]
                read = _read_slice(connection, coding, after, part)
            if len(read.ids):
                yield read
            start += SLICE_FACES
            if wanted is None:
                if len(read.ids) < SLICE_FACES:
                    return
                after = int(read.ids[-1])
            elif start >= len(wanted):
                return

    def vectors(self, ids: Collection[int] | None = None, revision_id: int | None = None) -> FaceVectors:
        with self._database.read() as connection:
            coding = (
                active_coding(connection, FACE_LAYER) if revision_id is None else get_coding(connection, revision_id)
            )
            if coding is None:
                return FaceVectors(np.empty(0, np.int64), np.empty((0, 0), np.float16))
            capacity = len(ids) if ids is not None else _vector_count(connection, coding)
        matrix = np.empty((capacity, coding.revision.dim), np.float16)
        all_ids = np.empty(capacity, np.int64)
        filled = 0
        for part in self.iter_vectors(ids, coding.revision.id):
            count = min(len(part.ids), capacity - filled)  # ignores faces added since the count
            matrix[filled : filled + count], all_ids[filled : filled + count] = part.vectors[:count], part.ids[:count]
            filled += count
        return FaceVectors(all_ids[:filled], matrix[:filled])

    def nearest_images(
        self, query: Floats, k: int, among: Collection[int] | None = None, guaranteed_top_k: int | None = None
    ) -> list[tuple[int, float]]:
        faces = None if among is None else self.face_ids(among)
        wanted = None if guaranteed_top_k is None else FACES_PER_IMAGE * guaranteed_top_k
        near = self._vectors.nearest(FACE_LAYER, query, FACES_PER_IMAGE * k, faces, wanted)
        return self._best_per_image(near)[:k]

    def scores(self, query: Floats, images: Collection[int]) -> dict[int, float]:
        near = self._vectors.scores(FACE_LAYER, query, self.face_ids(images))
        return dict(self._best_per_image(sorted(near.items(), key=lambda one: -one[1])))

    def _best_per_image(self, near: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
        image_of = self.image_ids([region_id for region_id, _ in near])
        best: dict[int, float] = {}
        for region_id, score in near:
            if region_id in image_of:
                best.setdefault(image_of[region_id], score)
        return list(best.items())


def _read_detectors(connection: Connection) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_DETECTORS_KEY,)).fetchone()
    return row[0] if row else None


def _vector_count(connection: Connection, coding: Coding) -> int:
    # Counting rows of the vector table would read all vectors; the row list of the code table is small.
    count: int = connection.execute(f"SELECT count(*) FROM {coding.codes_table}_rowids").fetchall()[0][0]
    return count


def _read_slice(connection: Connection, coding: Coding, after: int, wanted: Ids | None) -> FaceVectors:
    table, key = coding.vectors_table, coding.key
    if wanted is None:
        rows = connection.execute(
            f"SELECT {key}, vector FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?", (after, SLICE_FACES)
        ).fetchall()
    else:
        rows = connection.execute(
            f"SELECT {key}, vector FROM {table} WHERE {key} IN (SELECT value FROM json_each(?)) ORDER BY {key}",
            (ids_json(wanted.tolist()),),
        ).fetchall()
    halves = np.frombuffer(b"".join(blob for _, blob in rows), np.float16)
    ids = np.fromiter((one for one, _ in rows), np.int64, len(rows))
    return FaceVectors(ids, halves.reshape(len(rows), coding.revision.dim))
