"""File rows: present and missing paths of each content, and the changes that a scan makes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from indexd.fs.file_stamp import FileStamp
from indexd.fs.paths import absolute
from indexd.store.protocols.files import FileRepository
from indexd.store.records import FileRow, OverwrittenFile
from indexd.store.sqlite.adapters import ids_json, searchable_path, to_signed64, to_unsigned64
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.library.fulltext import refresh_fulltext
from indexd.store.sqlite.library.replaced_files import record_replacements
from indexd.store.sqlite.row_reader import RowReader
from indexd.watch.scan.index_snapshot import IndexedFileRow

_FILE = RowReader(FileRow, sql={"id": "file.id"}, given={"path", "stamp"})
SELECT_FILE = f"""
SELECT {_FILE.columns}, root.path, rel, size, mtime_ns, inode FROM file JOIN root ON root.id = root_id
"""
_QUERY_BATCH = 500


class Files(FileRepository):
    """Rows by root and relative path (bytes with `/`). A row is never dropped because a file is gone: it is marked missing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def present_stamps(self, root_id: int, under: bytes = b"") -> dict[bytes, FileStamp]:
        return {rel: FileStamp(*stamp) for rel, *stamp in self.iter_present(root_id, under)}

    def iter_present(self, root_id: int, under: bytes = b"") -> Iterator[IndexedFileRow]:
        where = "AND (rel = ? OR (rel > ? AND rel < ?))" if under else ""
        bound = (root_id, under, *_descendant_range(under)) if under else (root_id,)
        with self._database.read() as connection:
            for row in connection.execute(
                f"SELECT rel, size, mtime_ns, inode FROM file WHERE root_id = ? {where} AND missing_since IS NULL"
                " ORDER BY rel",
                bound,
            ):
                yield row if row[3] >= 0 else (*row[:3], to_unsigned64(row[3]))

    def missing_stamps(self, root_id: int) -> dict[bytes, FileStamp]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT rel, size, mtime_ns, inode FROM file WHERE root_id = ? AND missing_since IS NOT NULL",
                (root_id,),
            ).fetchall()
        return {rel: FileStamp(size, mtime_ns, to_unsigned64(inode)) for rel, size, mtime_ns, inode in rows}

    def without_own_metadata(self, root_id: int, rels: Sequence[bytes]) -> dict[bytes, float]:
        return self._first_read_times(root_id, rels, "AND (is_ai IS NULL OR source LIKE 'sidecar:%')")

    def first_read_times(self, root_id: int, rels: Sequence[bytes]) -> dict[bytes, float]:
        return self._first_read_times(root_id, rels, "")

    def _first_read_times(self, root_id: int, rels: Sequence[bytes], condition: str) -> dict[bytes, float]:
        found: dict[bytes, float] = {}
        with self._database.read() as connection:
            for start in range(0, len(rels), _QUERY_BATCH):
                some = rels[start : start + _QUERY_BATCH]
                found.update(
                    connection.execute(
                        "SELECT rel, added_at FROM file JOIN image ON image.id = image_id"
                        f" WHERE root_id = ? AND rel IN ({', '.join('?' * len(some))}) AND missing_since IS NULL"
                        f" {condition}",
                        (root_id, *some),
                    ).fetchall()
                )
        return found

    def overwritten(self, ids: Iterable[int]) -> dict[int, OverwrittenFile]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT previous_image_id, root.path, rel, mtime_ns FROM file JOIN root ON root.id = root_id"
                " WHERE previous_image_id IN (SELECT value FROM json_each(?)) AND image_id IS NOT previous_image_id"
                " ORDER BY mtime_ns",
                (ids_json(ids),),
            ).fetchall()
        return {
            image_id: OverwrittenFile(absolute(root, rel), mtime_ns / 1e9) for image_id, root, rel, mtime_ns in rows
        }

    def counts(self) -> tuple[int, int]:
        with self._database.read() as connection:
            present, missing = connection.execute(
                "SELECT count(*) FILTER (WHERE missing_since IS NULL), count(missing_since) FROM file"
            ).fetchall()[0]
        return present, missing

    def mark_missing(self, root_id: int, rels: Iterable[bytes], now: float) -> int:
        marked = 0
        with self._database.write() as connection:
            for rel in rels:
                connection.execute(
                    "UPDATE file SET missing_since = ? WHERE root_id = ? AND rel = ? AND missing_since IS NULL",
                    (now, root_id, rel),
                )
                marked += connection.changes()
        return marked

    def update_stamps(self, root_id: int, stamps: Iterable[tuple[bytes, FileStamp]]) -> None:
        with self._database.write() as connection:
            connection.executemany(
                "UPDATE file SET size = ?, mtime_ns = ?, inode = ?, missing_since = NULL WHERE root_id = ? AND rel = ?",
                ((stamp.size, stamp.mtime_ns, to_signed64(stamp.inode), root_id, rel) for rel, stamp in stamps),
            )

    def record_move(self, root_id: int, old_rel: bytes, new_rel: bytes, stamp: FileStamp) -> bool:
        with self._database.write() as connection:
            old = connection.execute(
                "SELECT id, image_id FROM file WHERE root_id = ? AND rel = ?", (root_id, old_rel)
            ).fetchone()
            if old is None:
                return False
            over = None
            if new_rel != old_rel:
                # What lay at the new path was written over by the move.
                over = connection.execute(
                    "SELECT coalesce(image_id, previous_image_id) FROM file WHERE root_id = ? AND rel = ?",
                    (root_id, new_rel),
                ).fetchone()
                connection.execute("DELETE FROM file WHERE root_id = ? AND rel = ?", (root_id, new_rel))
            connection.execute(
                "UPDATE file SET rel = ?, display = ?, size = ?, mtime_ns = ?, inode = ?, missing_since = NULL WHERE id = ?",
                (new_rel, searchable_path(new_rel), stamp.size, stamp.mtime_ns, to_signed64(stamp.inode), old[0]),
            )
            if old[1] is not None:
                refresh_fulltext(connection, [old[1]])
                # Many programs save by writing another file and renaming it over the first.
                if over is not None and over[0] is not None and over[0] != old[1]:
                    record_replacements(connection, [(over[0], old[1])])
        return True

    def find(self, path: bytes) -> FileRow | None:
        with self._database.read() as connection:
            roots = connection.execute("SELECT id, path FROM root ORDER BY length(path) DESC").fetchall()
            for root_id, root in roots:
                rel = _relative(path, root)
                if rel is None:
                    continue
                row = connection.execute(f"{SELECT_FILE} WHERE root_id = ? AND rel = ?", (root_id, rel)).fetchone()
                if row is not None:
                    return file_row(row)
        return None


def files_by_image(connection: Connection, ids: str) -> dict[int, list[FileRow]]:
    """The files of images (`ids` as a JSON list) by image, those that are there first."""
    found: dict[int, list[FileRow]] = {}
    rows = connection.execute(
        f"{SELECT_FILE} WHERE image_id IN (SELECT value FROM json_each(?))"
        " ORDER BY missing_since IS NOT NULL, root.online DESC, file.id",
        (ids,),
    )
    for file in map(file_row, rows):
        if file.image_id is not None:
            found.setdefault(file.image_id, []).append(file)
    return found


def file_row(row: Sequence[Any]) -> FileRow:
    """The record of one row of SELECT_FILE."""
    *columns, root, rel, size, mtime_ns, inode = row
    return _FILE.read(columns, path=absolute(root, rel), stamp=FileStamp(size, mtime_ns, to_unsigned64(inode)))


def _descendant_range(folder: bytes) -> tuple[bytes, bytes]:
    """The open range of relative paths below a folder: `/` and its successor `0` bound it."""
    folder = folder.rstrip(b"/")
    return folder + b"/", folder + b"0"


def _relative(path: bytes, root: bytes) -> bytes | None:
    separator = os.fsencode(os.sep)
    prefix = root.rstrip(separator) + separator
    if not path.startswith(prefix):
        return None
    return path[len(prefix) :].replace(separator, b"/")
