"""Writes a batch of files that were read: image, child rows, raw metadata, full text, file and work, in the caller's transaction."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from indexd.image_metadata.model import ImageFacts, ImageMetadata, PhotoAnnotations
from indexd.image_metadata.plausible_date import creation_from_file_time
from indexd.store.records import IngestResult, ScannedFile, StageInput
from indexd.store.sqlite.adapters import (
    finite_or_none,
    ids_json,
    searchable_path,
    to_signed64,
    utf8_text,
)
from indexd.store.sqlite.annotations.merge import apply_pending_annotations
from indexd.store.sqlite.annotations.suggestions import store_suggestions
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.library.fulltext import INSERT_FULLTEXT_SQL, file_name, fulltext_row, refresh_fulltext
from indexd.store.sqlite.library.image_count import last_image_id
from indexd.store.sqlite.library.metadata_columns import (
    CHILD_TABLES,
    IMAGE_COLUMNS,
    TEXT_COLUMNS,
    Row,
    image_values,
    text_values,
)
from indexd.store.sqlite.library.replaced_files import record_replacements
from indexd.store.sqlite.vectors.revisions import requeue_embedding
from indexd_schemas.settings import SuggestionMode, SuggestionSource

# A 4 KB workflow deflates in 60 us at this level; higher levels save 3 % more and double that.
DEFLATE_LEVEL = 3

_FACTS_COLUMNS = (
    "id",
    "content_hash",
    "byte_count",
    "format",
    "width",
    "height",
    "frame_count",
    "added_at",
    "created_at",
    "created_from",
)


def _insert_sql(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


_INSERTS = {
    "image": _insert_sql("image", (*_FACTS_COLUMNS, *IMAGE_COLUMNS)),
    "image_text": _insert_sql("image_text", ("image_id", *TEXT_COLUMNS)),
    "raw_chunk": _insert_sql("raw_chunk", ("image_id", "position", "key", "encoding", "text")),
    **{part.table: part.insert_sql for part in CHILD_TABLES},
    "prompt_fts": INSERT_FULLTEXT_SQL,
    "index_task": "INSERT OR IGNORE INTO index_task (image_id, stage) VALUES (?, ?)",
}

_UPSERT_FILE = """
INSERT INTO file (root_id, rel, display, size, mtime_ns, inode, image_id, problem) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (root_id, rel) DO UPDATE SET
    size = excluded.size, mtime_ns = excluded.mtime_ns, inode = excluded.inode, image_id = excluded.image_id,
    problem = excluded.problem, missing_since = NULL, previous_image_id = coalesce(file.image_id, file.previous_image_id)
"""

METADATA_LOST = -1
"""The parser version of an image whose facts were lost with a damaged index: the next sighting of its file states them."""

LOST_HASH_PREFIX = "lost "
"""Before the id: what stands in the place of a content hash that was lost with a damaged index."""


class ImageBatchWriter:
    """One batch. Rows of new images are gathered and written table by table; files go one by one in the order seen."""

    def __init__(self, connection: Connection, now: float) -> None:
        self._connection = connection
        self._now = now
        self._rows_by_table: dict[str, list[Row]] = {table: [] for table in _INSERTS}
        self._file_rows: list[Row] = []
        self._ids: dict[bytes, int] = {}
        self._stale_texts: set[int] = set()
        self._replacements: list[tuple[int, int]] = []
        self._folder_tag_roots = {row[0] for row in connection.execute("SELECT id FROM root WHERE folder_tags")}
        self._next_id = last_image_id(connection) + 1

    def write(self, scanned_files: Sequence[ScannedFile]) -> list[IngestResult]:
        """Write everything; the results are in the order of `scanned_files`."""
        outcomes = [self._ingest(sighting) for sighting in scanned_files]
        for table, rows in self._rows_by_table.items():
            self._connection.executemany(_INSERTS[table], rows)
        self._connection.executemany(_UPSERT_FILE, self._file_rows)
        refresh_fulltext(self._connection, self._stale_texts)
        apply_pending_annotations(self._connection, self._ids)
        self._store_suggestions(scanned_files, outcomes)
        record_replacements(self._connection, self._replacements)
        return outcomes

    def _store_suggestions(self, scanned_files: Sequence[ScannedFile], outcomes: Sequence[IngestResult]) -> None:
        suggested: dict[SuggestionMode, dict[int, dict[SuggestionSource, PhotoAnnotations]]] = {}
        for sighting, outcome in zip(scanned_files, outcomes, strict=True):
            facts, image_id = sighting.facts, outcome.image_id
            if facts is None or image_id is None:
                continue
            # A file without a sidecar says nothing of the sidecar that a copy of it may have.
            sources: dict[SuggestionSource, PhotoAnnotations] = {
                "file": facts.metadata.annotations or PhotoAnnotations()
            }
            if facts.sidecar_annotations is not None:
                sources["sidecar"] = facts.sidecar_annotations
            suggested.setdefault(sighting.suggestions, {}).setdefault(image_id, {}).update(sources)
        for mode, by_image in suggested.items():
            store_suggestions(self._connection, by_image, mode)

    def _ingest(self, sighting: ScannedFile) -> IngestResult:
        facts = sighting.facts
        if facts is None:
            problem = utf8_text(sighting.problem) or "could not be read"
            self._add_file(sighting, None, problem)
            return IngestResult(None, "problem")
        known = self._find_image(facts.content_hash) or self._reidentify(sighting, facts)
        if known is not None:
            if self._add_file(sighting, known, None):
                self._stale_texts.add(known)
            return IngestResult(known, "known")
        image_id = self._next_id
        self._next_id += 1
        self._ids[facts.content_hash] = image_id
        self._add_image(image_id, sighting, facts)
        self._add_file(sighting, image_id, None)
        return IngestResult(image_id, "new")

    def _find_image(self, content_hash: bytes) -> int | None:
        if content_hash in self._ids:
            return self._ids[content_hash]
        row = self._connection.execute("SELECT id FROM image WHERE content_hash = ?", (content_hash,)).fetchone()
        return row[0] if row else None

    def _reidentify(self, sighting: ScannedFile, facts: ImageFacts) -> int | None:
        """The image whose row was lost with a damaged index, when this is its file, untouched since; now it is known."""
        row = self._connection.execute(
            "SELECT image.id FROM file JOIN image ON image.id = image_id"
            " WHERE root_id = ? AND rel = ? AND mtime_ns = ? AND content_hash = CAST(? || image.id AS BLOB)",
            (sighting.root_id, sighting.rel, sighting.stamp.mtime_ns, LOST_HASH_PREFIX),
        ).fetchone()
        if row is None:
            return None
        self._connection.execute(
            "UPDATE image SET content_hash = ?, byte_count = ?, format = ?, width = ?, height = ?, frame_count = ?,"
            " decode_problem = NULL WHERE id = ?",
            (facts.content_hash, facts.byte_count, facts.format, facts.width, facts.height, facts.frame_count, row[0]),
        )
        self._ids[facts.content_hash] = row[0]
        return int(row[0])

    def _add_file(self, sighting: ScannedFile, image_id: int | None, problem: str | None) -> bool:
        """Note where the sighting lies. Returns whether that place held another content (or nothing) before."""
        before = self._connection.execute(
            "SELECT image_id, previous_image_id, mtime_ns FROM file WHERE root_id = ? AND rel = ?",
            (sighting.root_id, sighting.rel),
        ).fetchone()
        stamp = sighting.stamp
        self._file_rows.append(
            (
                sighting.root_id,
                sighting.rel,
                searchable_path(sighting.rel),
                stamp.size,
                stamp.mtime_ns,
                to_signed64(stamp.inode),
                image_id,
                problem,
            )
        )
        if before is not None and before[0] is not None and before[0] != image_id:
            self._stale_texts.add(before[0])
        if before is not None and image_id is not None:
            # A file caught half-written stood there as a problem in between: what lay there before that counts.
            old = before[0] if before[0] is not None else before[1]
            if old is not None and old != image_id:
                self._replacements.append((old, image_id))
        if before is not None and image_id is not None and before[0] == image_id and before[2] != stamp.mtime_ns:
            # Some programs (unzip, copying with times) set the time after closing the file. A stated date stays.
            self._follow_file_time(image_id, before[2] / 1e9, stamp.mtime_ns / 1e9)
        if image_id is not None and sighting.root_id in self._folder_tag_roots:
            self._stale_texts.add(image_id)
        return before is None or before[0] != image_id

    def _follow_file_time(self, image_id: int, before: float, now: float) -> None:
        row = self._connection.execute(
            "SELECT added_at, created_at FROM image WHERE id = ? AND created_from IS NULL", (image_id,)
        ).fetchone()
        if row is not None and row[1] == creation_from_file_time(before, row[0]):
            self._connection.execute(
                "UPDATE image SET created_at = ? WHERE id = ?", (creation_from_file_time(now, row[0]), image_id)
            )

    def _add_image(self, image_id: int, sighting: ScannedFile, facts: ImageFacts) -> None:
        metadata = facts.metadata
        rows = self._rows_by_table
        rows["image"].append(
            (
                image_id,
                facts.content_hash,
                facts.byte_count,
                facts.format,
                facts.width,
                facts.height,
                facts.frame_count,
                self._now,
                *_creation_date(metadata, creation_from_file_time(sighting.stamp.mtime_ns / 1e9, self._now)),
                *image_values(metadata),
            )
        )
        rows["image_text"].append((image_id, *text_values(metadata)))
        rows["prompt_fts"].append(fulltext_row(image_id, metadata, file_name(searchable_path(sighting.rel))))
        rows["index_task"] += ((image_id, stage) for stage in sighting.stages)
        rows["raw_chunk"] += (
            (image_id, position, *values) for position, values in enumerate(_raw_chunk_values(metadata))
        )
        for part in CHILD_TABLES:
            rows[part.table] += part.rows_for(metadata, image_id)


def _raw_chunk_values(metadata: ImageMetadata) -> list[Row]:
    return [
        (
            utf8_text(chunk.key),
            utf8_text(chunk.encoding),
            zlib.compress(chunk.text.encode("utf-8", "surrogatepass"), DEFLATE_LEVEL),
        )
        for chunk in metadata.raw
    ]


def _creation_date(metadata: ImageMetadata, file_time: float) -> tuple[float, str | None]:
    """The values of `created_at` and `created_from`. A file time within the stated day is the more precise date."""
    created_at, created_until = finite_or_none(metadata.created_at), finite_or_none(metadata.created_until)
    if created_at is None or (created_until is not None and created_at <= file_time < created_until):
        return file_time, None
    return created_at, utf8_text(metadata.created_from) or "metadata"


def _file_time(connection: Connection, image_id: int) -> float:
    """The modification time that stands for the creation of an image: the current one, unless that is a stated date."""
    added_at, created_at, created_from, oldest = connection.execute(
        "SELECT added_at, created_at, created_from, (SELECT min(mtime_ns) / 1e9 FROM file WHERE image_id = image.id)"
        " FROM image WHERE id = ?",
        (image_id,),
    ).fetchone()
    if created_from is None or oldest is None:
        return float(created_at)
    return creation_from_file_time(oldest, added_at)


def update_metadata(connection: Connection, image_id: int, metadata: ImageMetadata) -> dict[StageInput, str]:
    """Write what is now known of an image in the place of what was: columns, child rows, texts. Marks and vectors stay.

    Returns the texts that changed, by what they are of ("" where there is none any more).
    """
    before = connection.execute(
        "SELECT prompt, negative_prompt FROM image_text WHERE image_id = ?", (image_id,)
    ).fetchone() or (None, None)
    assigned = ", ".join(f"{name} = ?" for name in IMAGE_COLUMNS)
    connection.execute(
        f"UPDATE image SET created_at = ?, created_from = ?, {assigned} WHERE id = ?",
        (*_creation_date(metadata, _file_time(connection, image_id)), *image_values(metadata), image_id),
    )
    connection.execute("DELETE FROM image_text WHERE image_id = ?", (image_id,))
    connection.execute(_INSERTS["image_text"], (image_id, *text_values(metadata)))
    connection.execute("DELETE FROM raw_chunk WHERE image_id = ?", (image_id,))
    raw = [(image_id, position, *values) for position, values in enumerate(_raw_chunk_values(metadata))]
    connection.executemany(_INSERTS["raw_chunk"], raw)
    for part in CHILD_TABLES:
        connection.execute(f"DELETE FROM {part.table} WHERE image_id = ?", (image_id,))
        connection.executemany(part.insert_sql, part.rows_for(metadata, image_id))
    after: dict[StageInput, str | None] = {
        "prompt": utf8_text(metadata.prompt),
        "negative_prompt": utf8_text(metadata.negative_prompt),
    }
    return {of: text or "" for (of, text), old in zip(after.items(), before, strict=True) if text != old}


def metadata_snapshot(connection: Connection, image_id: int) -> list[Row]:
    """Everything that `update_metadata` may change of an image, except its parser version, for a comparison."""
    columns = [name for name in IMAGE_COLUMNS if name != "parser_version"]
    found: list[Row] = connection.execute(
        f"SELECT created_at, created_from, {', '.join(columns)} FROM image WHERE id = ?", (image_id,)
    ).fetchall()
    for table in ("image_text", *(part.table for part in CHILD_TABLES)):
        found += connection.execute(f"SELECT * FROM {table} WHERE image_id = ? ORDER BY 1, 2", (image_id,)).fetchall()
    return found


def restore_lost_metadata(
    connection: Connection, scanned_files: Sequence[ScannedFile], results: Sequence[IngestResult]
) -> None:
    """Give images whose facts were lost with a damaged index the facts of these sightings."""
    found = {
        one.image_id: sighting
        for one, sighting in zip(results, scanned_files, strict=True)
        if one.outcome == "known" and one.image_id is not None and sighting.facts is not None
    }
    lost = connection.execute(
        "SELECT id FROM image WHERE id IN (SELECT value FROM json_each(?)) AND parser_version = ?",
        (ids_json(found), METADATA_LOST),
    ).fetchall()
    for (image_id,) in lost:
        facts = found[image_id].facts
        assert facts is not None
        update_metadata(connection, image_id, facts.metadata)
        connection.executemany(_INSERTS["index_task"], [(image_id, stage) for stage in found[image_id].stages])
    refresh_fulltext(connection, [image_id for (image_id,) in lost])


def update_from_sidecars(
    connection: Connection, scanned_files: Sequence[ScannedFile], results: Sequence[IngestResult]
) -> None:
    """Give known images that state nothing themselves what these sightings read beside their files."""
    changed = []
    for one, sighting in zip(results, scanned_files, strict=True):
        if one.outcome != "known" or one.image_id is None or sighting.facts is None or not sighting.layers_by_input:
            continue
        silent = connection.execute(
            "SELECT 1 FROM image WHERE id = ? AND (is_ai IS NULL OR source LIKE 'sidecar:%')", (one.image_id,)
        ).fetchone()
        if silent is None:
            continue
        changed.append(one.image_id)
        for of, text in update_metadata(connection, one.image_id, sighting.facts.metadata).items():
            requeue_embedding(connection, one.image_id, sighting.layers_by_input.get(of, ()), wanted=bool(text.strip()))
    refresh_fulltext(connection, changed)
