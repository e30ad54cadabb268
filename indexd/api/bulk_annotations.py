"""Annotations in bulk: by filter, and exported and imported by content hash."""

from __future__ import annotations

import itertools
from collections.abc import Sequence, Set
from urllib.parse import quote_from_bytes

from indexd.characters.lookup import validate_character_name
from indexd.errors import UsageError
from indexd.search.query.filter_language import parse_filters
from indexd.store.protocols import IndexStore
from indexd.store.records import AnnotationSet, ExportedAnnotations, FaceLabel, Filter
from indexd.store.sqlite.annotations.tags import normalize_tag
from indexd_schemas.api.annotations import (
    MAX_TAG_CHARACTERS,
    AnnotateMatchingRequest,
    AnnotationPage,
    AnnotationRecord,
    ExportRequest,
    FaceLabelRecord,
    ImportReport,
    ImportRequest,
    LocatedRecord,
)
from indexd_schemas.api.output import AnnotateReport

BATCH_SIZE = 5000


def check_tags(add: Sequence[str], remove: Sequence[str]) -> None:
    """Raises UsageError for text that cannot be a tag."""
    for name in (*add, *remove):
        if not normalize_tag(name) or len(name) > MAX_TAG_CHARACTERS or not name.isprintable():
            raise UsageError(
                f"{name[:40]!r} is not a valid tag; a tag is one line of 1 to {MAX_TAG_CHARACTERS} characters"
            )
    for name in add:
        if "*" in name:
            raise UsageError(f"{name[:40]!r} cannot be added: in filters `*` matches any text")


def matching_image_ids(store: IndexStore, texts: Sequence[str]) -> Set[int]:
    """The images that `indexd query` would list for these filters; missing ones only if a filter asks for them."""
    filters = parse_filters(texts)
    if not filters:
        raise UsageError("name the images with at least one filter, such as 'model:pony rating:4..'")
    if not any(one.key == "missing" for one in filters):
        filters.append(Filter("missing", "=", "no"))
    return store.filters.ids(filters) or set()


def annotate_matching(store: IndexStore, request: AnnotateMatchingRequest) -> AnnotateReport:
    check_tags(request.add, request.remove)
    if request.rating is None and not request.add and not request.remove and request.note is None:
        raise UsageError("give a rating, tags or a note for the images")
    ids = matching_image_ids(store, request.filters)
    if request.at_most is not None and len(ids) > request.at_most:
        raise UsageError(f"{len(ids)} images match now, {request.at_most} were confirmed; repeat the command")
    if request.dry_run:
        return AnnotateReport(changed=len(ids))
    changed, remaining = 0, iter(sorted(ids))
    while batch := list(itertools.islice(remaining, BATCH_SIZE)):
        if request.rating is not None:
            changed_now = store.annotations.rate(batch, request.rating)
        if request.add or request.remove:
            changed_now = store.annotations.tag(batch, request.add, request.remove)
        if request.note is not None:
            changed_now = store.annotations.note(batch, request.note, append=request.append)
        changed += changed_now
    return AnnotateReport(changed=changed)


def export_page(store: IndexStore, request: ExportRequest) -> AnnotationPage:
    image_ids = matching_image_ids(store, request.filters) if request.filters else None
    exported, next_cursor = store.annotation_exchange.export_page(request.cursor, request.limit, image_ids)
    return AnnotationPage(records=[_located_record(one) for one in exported], next=next_cursor)


def _located_record(exported: ExportedAnnotations) -> LocatedRecord:
    annotations = exported.annotations
    record = AnnotationRecord(
        hash=exported.content_hash.hex(),
        rating=annotations.rating,
        rated_at=annotations.rated_at if annotations.rating is not None else None,
        tags=sorted(annotations.tags),
        note=annotations.note or None,
        noted_at=annotations.noted_at if annotations.note else None,
        faces=[_export_face_label(face) for face in exported.faces] or None,
        name=exported.name,
    )
    return LocatedRecord(record=record, places=[quote_from_bytes(path, safe="/") for path in exported.paths])


def _export_face_label(face: FaceLabel) -> FaceLabelRecord:
    return FaceLabelRecord(
        kind=face.kind,
        box=face.box,
        character=face.name,
        verdict=face.verdict,
        said_at=face.labelled_at or None,
        hidden=face.hidden or None,
        threshold=face.threshold,
    )


def _import_face_label(record: FaceLabelRecord) -> FaceLabel:
    name = validate_character_name(record.character)
    return FaceLabel(
        record.kind, record.box, name, record.verdict, record.said_at or 0.0, bool(record.hidden), record.threshold
    )


def import_annotations(store: IndexStore, request: ImportRequest) -> ImportReport:
    given: dict[bytes, AnnotationSet] = {}
    faces: dict[bytes, list[FaceLabel]] = {}
    for record in request.records:
        check_tags(record.tags, ())
        content_hash = bytes.fromhex(record.hash)
        if content_hash in given:
            raise UsageError(f"the hash {record.hash} occurs twice; send the records in two requests")
        faces[content_hash] = [_import_face_label(face) for face in record.faces or ()]
        given[content_hash] = AnnotationSet(
            record.rating, record.rated_at or 0.0, frozenset(record.tags), record.note, record.noted_at or 0.0
        )
    counts = store.annotation_exchange.import_annotations(
        given, faces, prefer_given=request.prefer_file, dry_run=request.dry_run
    )
    return ImportReport(
        records=len(given), changed=counts.changed, same=counts.same, pending=counts.pending, dry_run=request.dry_run
    )
