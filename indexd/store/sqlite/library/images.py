"""Images by content: written in batches, read as whole rows."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from indexd.fs.paths import absolute
from indexd.image_metadata.model import (
    ImageMetadata,
    RawChunk,
)
from indexd.store.protocols.images import ImageRepository
from indexd.store.records import ImageRow, IngestResult, ScannedFile, StageInput
from indexd.store.sqlite.adapters import ids_json, utf8_text
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.library.files import files_by_image
from indexd.store.sqlite.library.fulltext import refresh_fulltext
from indexd.store.sqlite.library.image_count import image_count
from indexd.store.sqlite.library.image_writer import (
    ImageBatchWriter,
    metadata_snapshot,
    restore_lost_metadata,
    update_from_sidecars,
    update_metadata,
)
from indexd.store.sqlite.library.metadata_columns import LORAS, SCORES, parse_extras, read_metadata
from indexd.store.sqlite.row_reader import RowReader
from indexd.store.sqlite.vectors.revisions import requeue_embedding

_IMAGE = RowReader(
    ImageRow,
    sql={
        "id": "image.id",
        "rating": "rating.value",
        "note": "note.text",
        # Images of the same content may come of several jobs; the newest counts.
        "job": "coalesce(job, (SELECT job_id || '/' || position FROM job_item"
        " WHERE job_item.content_hash = image.content_hash AND job_item.state = 'done' ORDER BY job_item.id DESC LIMIT 1))",
    },
    convert={"extras": parse_extras},
    given={"tags", "folder_tags", "loras", "scores", "files"},
)
_SELECT = f"""
SELECT {_IMAGE.columns}
FROM image
JOIN image_text ON image_text.image_id = image.id
LEFT JOIN rating ON rating.image_id = image.id
LEFT JOIN note ON note.image_id = image.id
"""
_TEXT_COLUMNS: dict[StageInput, str] = {"prompt": "prompt", "negative_prompt": "negative_prompt"}


class Images(ImageRepository):
    """One row per content. Rows are made once; only `indexd forget` takes them away, and no id is given twice."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ingest(self, scanned_files: Sequence[ScannedFile], now: float) -> list[IngestResult]:
        with self._database.write() as connection:
            recorded = ImageBatchWriter(connection, now).write(scanned_files)
            restore_lost_metadata(connection, scanned_files, recorded)
            update_from_sidecars(connection, scanned_files, recorded)
            return recorded

    def get(self, image_id: int) -> ImageRow | None:
        return self.rows([image_id]).get(image_id)

    def get_by_hash(self, content_hash: bytes) -> ImageRow | None:
        image_id = self.find_id(content_hash)
        return self.get(image_id) if image_id is not None else None

    def find_id(self, content_hash: bytes) -> int | None:
        with self._database.read() as connection:
            row = connection.execute("SELECT id FROM image WHERE content_hash = ?", (content_hash,)).fetchone()
        return row[0] if row else None

    def rows(self, ids: Iterable[int]) -> dict[int, ImageRow]:
        with self._database.read() as connection:
            return _image_rows(connection, ids)

    def metadata(self, image_id: int) -> ImageMetadata | None:
        with self._database.read() as connection:
            return read_metadata(connection, image_id)

    def raw_chunks(self, image_id: int) -> list[RawChunk]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT key, encoding, text FROM raw_chunk WHERE image_id = ? ORDER BY position", (image_id,)
            ).fetchall()
        return [
            RawChunk(key, encoding, zlib.decompress(text).decode("utf-8", "surrogatepass"))
            for key, encoding, text in rows
        ]

    def prompts(self, ids: Iterable[int], stage_input: StageInput) -> dict[int, str]:
        column = _TEXT_COLUMNS[stage_input]
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT image_id, {column} FROM image_text"
                f" WHERE image_id IN (SELECT value FROM json_each(?)) AND trim({column}) <> ''",
                (ids_json(ids),),
            ).fetchall()
        return dict(rows)

    def paths(self, ids: Iterable[int]) -> dict[int, bytes]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT image_id, path, rel FROM file JOIN root ON root.id = root_id"
                " WHERE image_id IN (SELECT value FROM json_each(?)) AND missing_since IS NULL ORDER BY online, file.id DESC",
                (ids_json(ids),),
            ).fetchall()
        return {image_id: absolute(root, rel) for image_id, root, rel in rows}

    def content_hashes(self, ids: Iterable[int]) -> dict[int, bytes]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id, content_hash FROM image WHERE id IN (SELECT value FROM json_each(?))", (ids_json(ids),)
            ).fetchall()
        return dict(rows)

    def pixel_counts(self, ids: Iterable[int]) -> dict[int, int]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id, width * height FROM image WHERE id IN (SELECT value FROM json_each(?))", (ids_json(ids),)
            ).fetchall()
        return dict(rows)

    def raw_chunks_by_image(self, ids: Iterable[int]) -> dict[int, list[RawChunk]]:
        found: dict[int, list[RawChunk]] = {}
        with self._database.read() as connection:
            for image_id, key, encoding, text in connection.execute(
                "SELECT image_id, key, encoding, text FROM raw_chunk"
                " WHERE image_id IN (SELECT value FROM json_each(?)) ORDER BY image_id, position",
                (ids_json(ids),),
            ):
                chunk = RawChunk(key, encoding, zlib.decompress(text).decode("utf-8", "surrogatepass"))
                found.setdefault(image_id, []).append(chunk)
        return found

    def find_outdated(self, parser_version: int, after: int, limit: int) -> tuple[list[int], int]:
        # Below 0 are images whose texts were lost with a damaged index: only their files can say it again.
        where = "WHERE parser_version >= 0 AND parser_version < ? AND id > ?"
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT id FROM image {where} ORDER BY id LIMIT ?", (parser_version, after, limit)
            ).fetchall()
            left = connection.execute(f"SELECT count(*) FROM image {where}", (parser_version, after)).fetchall()[0][0]
        return [image_id for (image_id,) in rows], left

    def parse_problems(self, ids: Iterable[int]) -> dict[int, str]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id, parse_problem FROM image"
                " WHERE parse_problem IS NOT NULL AND id IN (SELECT value FROM json_each(?))",
                (ids_json(ids),),
            ).fetchall()
        return dict(rows)

    def update_metadata(
        self, metadata_by_image: Mapping[int, ImageMetadata], layers_by_input: Mapping[StageInput, Sequence[str]]
    ) -> int:
        changed = 0
        with self._database.write() as connection:
            for image_id, metadata in metadata_by_image.items():
                before = metadata_snapshot(connection, image_id)
                texts = update_metadata(connection, image_id, metadata)
                changed += metadata_snapshot(connection, image_id) != before
                for of, text in texts.items():
                    requeue_embedding(connection, image_id, layers_by_input.get(of, ()), wanted=bool(text.strip()))
            refresh_fulltext(connection, metadata_by_image)
        return changed

    def set_decode_problem(self, image_id: int, text: str | None) -> None:
        with self._database.write() as connection:
            connection.execute("UPDATE image SET decode_problem = ? WHERE id = ?", (utf8_text(text), image_id))

    def newest_id(self) -> int:
        with self._database.read() as connection:
            newest: int = connection.execute("SELECT coalesce(max(id), 0) FROM image").fetchone()[0]
        return newest

    def count(self) -> int:
        with self._database.read() as connection:
            return image_count(connection)


def _image_rows(connection: Connection, ids: Iterable[int]) -> dict[int, ImageRow]:
    chosen = list(ids)
    wanted = ids_json(chosen)
    rows = connection.execute(f"{_SELECT} WHERE image.id IN (SELECT value FROM json_each(?))", (wanted,)).fetchall()
    children: dict[str, Mapping[int, Sequence[Any]]] = {
        "tags": _tags_by_image(connection, wanted, "tag"),
        "folder_tags": _tags_by_image(connection, wanted, "folder_tag"),
        "loras": LORAS.read_records(connection, chosen),
        "scores": SCORES.read_records(connection, chosen),
        "files": files_by_image(connection, wanted),
    }
    return {
        row[0]: _IMAGE.read(row, **{name: tuple(by_image.get(row[0], ())) for name, by_image in children.items()})
        for row in rows
    }


def _tags_by_image(connection: Connection, ids: str, table: str) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for image_id, name in connection.execute(
        f"SELECT image_id, name FROM {table} WHERE image_id IN (SELECT value FROM json_each(?)) ORDER BY image_id, name",
        (ids,),
    ):
        found.setdefault(image_id, []).append(name)
    return found
