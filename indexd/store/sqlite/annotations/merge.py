"""Reads, merges and defers the annotations of a content.

The later rating or note wins; at equal times the higher rating and the longer note. Tags are united. So merging is
commutative and idempotent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from indexd.store.annotation_merge import merge_annotations
from indexd.store.records import AnnotationSet
from indexd.store.sqlite.adapters import ids_json, utf8_text
from indexd.store.sqlite.annotations.tags import TagSpelling, normalize_tag
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.library.fulltext import refresh_fulltext


def read_annotations(connection: Connection, ids: Iterable[int]) -> dict[int, AnnotationSet]:
    """The annotations of these images; images without any are omitted."""
    wanted = ids_json(ids)
    among = "WHERE image_id IN (SELECT value FROM json_each(?))"
    found: dict[int, AnnotationSet] = {}
    for image_id, value, rated_at in connection.execute(
        f"SELECT image_id, value, rated_at FROM rating {among}", (wanted,)
    ):
        found[image_id] = AnnotationSet(rating=value, rated_at=rated_at)
    for image_id, text, noted_at in connection.execute(f"SELECT image_id, text, noted_at FROM note {among}", (wanted,)):
        found[image_id] = replace(found.get(image_id, AnnotationSet()), note=text, noted_at=noted_at)
    tags: dict[int, list[str]] = {}
    for image_id, name in connection.execute(f"SELECT image_id, name FROM tag {among}", (wanted,)):
        tags.setdefault(image_id, []).append(name)
    for image_id, names in tags.items():
        found[image_id] = replace(found.get(image_id, AnnotationSet()), tags=frozenset(names))
    return found


def add_annotations(
    connection: Connection, given: Mapping[int, Iterable[AnnotationSet]], *, prefer_given: bool = False
) -> dict[int, bool]:
    """Merge annotations into those of images, in the caller's transaction; returns by id whether anything changed."""
    spelling = TagSpelling(connection)
    before = read_annotations(connection, given)
    changed: dict[int, bool] = {}
    for image_id, sets in given.items():
        now = was = before.get(image_id, AnnotationSet())
        for added in sets:
            tags = frozenset(spelling.canonical(name) for name in map(normalize_tag, added.tags) if name)
            now = merge_annotations(now, replace(added, tags=tags), prefer_other=prefer_given)
        changed[image_id] = now != was
        if now != was:
            _write_annotations(connection, image_id, now)
    refresh_fulltext(connection, [image_id for image_id, differs in changed.items() if differs])
    return changed


def _write_annotations(connection: Connection, image_id: int, annotations: AnnotationSet) -> None:
    if annotations.rating is not None:
        connection.execute(
            "INSERT OR REPLACE INTO rating (image_id, value, rated_at) VALUES (?, ?, ?)",
            (image_id, annotations.rating, annotations.rated_at),
        )
    if annotations.note:
        connection.execute(
            "INSERT OR REPLACE INTO note (image_id, text, noted_at) VALUES (?, ?, ?)",
            (image_id, utf8_text(annotations.note), annotations.noted_at),
        )
    connection.executemany(
        "INSERT OR IGNORE INTO tag (image_id, name) VALUES (?, ?)",
        [(image_id, name) for name in sorted(annotations.tags)],
    )


def read_pending_annotations(connection: Connection, hashes: Iterable[bytes]) -> dict[bytes, AnnotationSet]:
    """The pending annotations of these contents."""
    found = {}
    for content_hash in hashes:
        row = connection.execute(
            "SELECT rating, rated_at, tags, note, noted_at FROM pending_annotation WHERE content_hash = ?",
            (content_hash,),
        ).fetchone()
        if row is not None:
            found[content_hash] = pending_annotation_row(row)
    return found


def pending_annotation_row(row: tuple[int | None, float, str, str | None, float]) -> AnnotationSet:
    """A row of `pending_annotation` without its key."""
    rating, rated_at, tags, note, noted_at = row
    return AnnotationSet(rating, rated_at, frozenset(json.loads(tags)), note, noted_at)


def defer_annotations(
    connection: Connection, given: Mapping[bytes, AnnotationSet], *, prefer_given: bool = False
) -> dict[bytes, bool]:
    """Store annotations of contents that are not in the index; returns by hash whether anything changed."""
    before = read_pending_annotations(connection, given)
    changed: dict[bytes, bool] = {}
    for content_hash, added in given.items():
        was = before.get(content_hash, AnnotationSet())
        normalized = replace(added, tags=frozenset(filter(None, map(normalize_tag, added.tags))))
        now = merge_annotations(was, normalized, prefer_other=prefer_given)
        changed[content_hash] = now != was
        if now != was:
            connection.execute(
                "INSERT OR REPLACE INTO pending_annotation (content_hash, rating, rated_at, tags, note, noted_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    content_hash,
                    now.rating,
                    now.rated_at,
                    json.dumps(sorted(now.tags)),
                    utf8_text(now.note),
                    now.noted_at,
                ),
            )
    return changed


def apply_pending_annotations(connection: Connection, new_images: Mapping[bytes, int]) -> None:
    """Apply the pending annotations of these contents to their new images."""
    if not new_images or connection.execute("SELECT 1 FROM pending_annotation LIMIT 1").fetchone() is None:
        return
    found = read_pending_annotations(connection, new_images)
    if found:
        add_annotations(connection, {new_images[content_hash]: (pending,) for content_hash, pending in found.items()})
        connection.executemany("DELETE FROM pending_annotation WHERE content_hash = ?", [(one,) for one in found])
