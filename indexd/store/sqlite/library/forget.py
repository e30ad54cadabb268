"""Forgets missing files, and images without any file. Nothing else deletes images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

from indexd.store.protocols.files import ForgetRepository
from indexd.store.records import FileRow, ForgetResult
from indexd.store.sqlite.adapters import AMONG, ids_json
from indexd.store.sqlite.annotations.merge import defer_annotations, read_annotations
from indexd.store.sqlite.annotations.pending_face_labels import defer_face_labels
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.faces.regions import delete_regions, regions_by_image
from indexd.store.sqlite.library.cascade import cascade_delete
from indexd.store.sqlite.library.files import SELECT_FILE, file_row
from indexd.store.sqlite.library.fulltext import refresh_fulltext
from indexd.store.sqlite.library.image_count import last_image_id, record_forgotten

BATCH_ROWS = 2000
Item = TypeVar("Item")
_SELECT_MISSING = f"""
{SELECT_FILE}
WHERE file.id > ? AND root.purpose = 'images' AND (missing_since < ? OR root_id IN (SELECT value FROM json_each(?))) ORDER BY file.id LIMIT ?
"""


class Forgetter(ForgetRepository):
    """Finds and deletes missing files and images, BATCH_ROWS in a transaction."""

    def __init__(self, database: Database, on_removed: Callable[[Collection[int], Collection[int]], None]) -> None:
        """`on_removed` receives the deleted images and regions after each commit, with the writer's lock held."""
        self._database = database
        self._on_removed = on_removed

    def missing_files(self, before: float, roots: Iterable[int] = ()) -> Iterator[FileRow]:
        after = 0
        while True:
            with self._database.read() as connection:
                rows = connection.execute(
                    _SELECT_MISSING,
                    (after, before, ids_json(roots), BATCH_ROWS),
                ).fetchall()
            files = [file_row(row) for row in rows]
            yield from files
            if len(files) < BATCH_ROWS:
                return
            after = files[-1].id

    def without_files(self, before: float) -> list[int]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id FROM image WHERE added_at < ? AND NOT EXISTS (SELECT 1 FROM file WHERE image_id = image.id)",
                (before,),
            )
            return [image_id for (image_id,) in rows]

    def orphaned_by(self, file_ids: Iterable[int]) -> list[int]:
        with self._database.read() as connection:
            wanted = ids_json(file_ids)
            rows = connection.execute(
                "SELECT DISTINCT image_id FROM file WHERE id IN (SELECT value FROM json_each(?)) AND image_id IS NOT NULL"
                " AND NOT EXISTS (SELECT 1 FROM file AS other WHERE other.image_id = file.image_id"
                "                 AND other.id NOT IN (SELECT value FROM json_each(?)))",
                (wanted, wanted),
            )
            return [image_id for (image_id,) in rows]

    def count_annotated(self, ids: Iterable[int]) -> int:
        with self._database.read() as connection:
            return len(read_annotations(connection, ids))

    def forget(
        self, files: Iterable[FileRow], images: Iterable[int], *, with_annotations: bool = False
    ) -> ForgetResult:
        file_count = image_count = kept_count = 0
        for file_batch in _batches(files):
            with self._database.write() as connection:
                file_count += _forget_files(connection, file_batch)
        for id_batch in _batches(images):
            with self._database.outside_transaction():
                with self._database.write(durable=True) as connection:
                    deleted, regions, kept = _forget_images(connection, id_batch, with_annotations)
                self._on_removed(deleted, regions)
            image_count, kept_count = image_count + len(deleted), kept_count + kept
        return ForgetResult(file_count, image_count, kept_count)


def _forget_files(connection: Connection, files: list[FileRow]) -> int:
    count = 0
    for file in files:
        # Only while the row is unchanged: a scan may have found the file again since it was selected.
        connection.execute(
            "DELETE FROM file WHERE id = ? AND missing_since IS ? AND image_id IS ?",
            (file.id, file.missing_since, file.image_id),
        )
        count += connection.changes()
    refresh_fulltext(connection, {file.image_id for file in files if file.image_id is not None})
    return count


def _forget_images(connection: Connection, ids: list[int], with_annotations: bool) -> tuple[list[int], list[int], int]:
    # Skip images with a running task: its result would arrive for a deleted image. The next call deletes them.
    rows = connection.execute(
        "SELECT id, content_hash FROM image WHERE id IN (SELECT value FROM json_each(?))"
        " AND NOT EXISTS (SELECT 1 FROM file WHERE image_id = image.id)"
        " AND id NOT IN (SELECT image_id FROM index_task WHERE state = 'running')",
        (ids_json(ids),),
    ).fetchall()
    deleted = [image_id for image_id, _ in rows]
    annotations = {} if with_annotations else read_annotations(connection, deleted)
    defer_annotations(
        connection, {content_hash: annotations[image_id] for image_id, content_hash in rows if image_id in annotations}
    )
    last_id, deleted_json = last_image_id(connection), ids_json(deleted)
    if not with_annotations:
        defer_face_labels(connection, deleted)
    regions = [row.id for known in regions_by_image(connection, deleted).values() for row in known]
    delete_regions(connection, regions)
    cascade_delete(connection, "image_id", deleted, except_table="file")
    connection.execute(
        f"DELETE FROM replacement WHERE new_id IN {AMONG} OR old_id IN {AMONG}", (deleted_json, deleted_json)
    )
    connection.execute(f"DELETE FROM prompt_fts WHERE rowid IN {AMONG}", (deleted_json,))
    connection.execute(f"DELETE FROM image WHERE id IN {AMONG}", (deleted_json,))
    record_forgotten(connection, len(rows), last_id)
    return deleted, regions, len(annotations)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    source = iter(items)
    while batch := list(itertools.islice(source, BATCH_ROWS)):
        yield batch
