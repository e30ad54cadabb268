"""Deletes missing files, and images without any file. No other module deletes them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

from indexd.store.protocols.files import ForgetRepository
from indexd.store.records import FileRow, ForgetResult
from indexd.store.sqlite.adapters import ids_json
from indexd.store.sqlite.annotations.merge import defer_annotations, read_annotations
from indexd.store.sqlite.annotations.pending_face_labels import defer_face_labels
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.faces.regions import delete_regions, regions_by_image
from indexd.store.sqlite.library.cascade import cascade_delete
from indexd.store.sqlite.library.files import file_row
from indexd.store.sqlite.library.fulltext import refresh_fulltext
from indexd.store.sqlite.library.image_count import last_image_id, record_forgotten

BATCH_ROWS = 2000
Item = TypeVar("Item")
_SELECT_MISSING = """
SELECT file.id, root_id, rel, root.path, size, mtime_ns, inode, image_id, problem, missing_since
FROM file JOIN root ON root.id = root_id
WHERE file.id > ? AND root.purpose = 'images' AND (missing_since < ? OR root_id IN (SELECT value FROM json_each(?))) ORDER BY file.id LIMIT ?
"""


class Forgetter(ForgetRepository):
    """Finds what is missing and takes it away, some thousands in a transaction."""

    def __init__(self, database: Database, on_removed: Callable[[Collection[int], Collection[int]], None]) -> None:
        """`on_removed` hears which images and regions are no more: after each commit, with the writer's lock held."""
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
            yield from (file_row(row) for row in rows)
            if len(rows) < BATCH_ROWS:
                return
            after = rows[-1][0]

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
        file_count = image_count = marks_kept = 0
        for some in _batches(files):
            with self._database.write() as connection:
                file_count += _forget_files(connection, some)
        for some_ids in _batches(images):
            with self._database.outside_transaction():
                with self._database.write(durable=True) as connection:
                    gone, regions, kept = _forget_images(connection, some_ids, with_annotations)
                self._on_removed(gone, regions)
            image_count, marks_kept = image_count + len(gone), marks_kept + kept
        return ForgetResult(file_count, image_count, marks_kept)


def _forget_files(connection: Connection, files: list[FileRow]) -> int:
    count = 0
    for file in files:
        # As it was when it was chosen: a scan may have found it again since.
        connection.execute(
            "DELETE FROM file WHERE id = ? AND missing_since IS ? AND image_id IS ?",
            (file.id, file.missing_since, file.image_id),
        )
        count += connection.changes()
    refresh_fulltext(connection, {file.image_id for file in files if file.image_id is not None})
    return count


def _forget_images(connection: Connection, ids: list[int], with_marks: bool) -> tuple[list[int], list[int], int]:
    # Skip images with running index tasks: their results would refer to a deleted image. The next call deletes them.
    rows = connection.execute(
        "SELECT id, content_hash FROM image WHERE id IN (SELECT value FROM json_each(?))"
        " AND NOT EXISTS (SELECT 1 FROM file WHERE image_id = image.id)"
        " AND id NOT IN (SELECT image_id FROM index_task WHERE state = 'running')",
        (ids_json(ids),),
    ).fetchall()
    marks = {} if with_marks else read_annotations(connection, (image_id for image_id, _ in rows))
    defer_annotations(
        connection, {content_hash: marks[image_id] for image_id, content_hash in rows if image_id in marks}
    )
    last_id, gone = last_image_id(connection), ids_json(image_id for image_id, _ in rows)
    among = "(SELECT value FROM json_each(?))"
    if not with_marks:
        defer_face_labels(connection, [image_id for image_id, _ in rows])
    regions = [row.id for known in regions_by_image(connection, [one for one, _ in rows]).values() for row in known]
    delete_regions(connection, regions)
    cascade_delete(connection, "image_id", [image_id for image_id, _ in rows], except_table="file")
    connection.execute(f"DELETE FROM replacement WHERE new_id IN {among} OR old_id IN {among}", (gone, gone))
    connection.execute(f"DELETE FROM prompt_fts WHERE rowid IN {among}", (gone,))
    connection.execute(f"DELETE FROM image WHERE id IN {among}", (gone,))
    record_forgotten(connection, len(rows), last_id)
    return [image_id for image_id, _ in rows], regions, len(marks)


def _batches(things: Iterable[Item]) -> Iterator[list[Item]]:
    source = iter(things)
    while some := list(itertools.islice(source, BATCH_ROWS)):
        yield some
