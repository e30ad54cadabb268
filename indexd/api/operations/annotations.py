"""What people put in, as operations: marks in bulk, out and in by content, and the places of a library put right."""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import Sequence, Set
from urllib.parse import quote_from_bytes, unquote_to_bytes

from indexd.api.context import DaemonContext
from indexd.characters.lookup import validate_character_name
from indexd.config import Config
from indexd.errors import UsageError
from indexd.fs.paths import display
from indexd.search.query.filter_language import parse_filters
from indexd.store.path_prefix import is_absolute_path, path_parts, relative_to
from indexd.store.records import AnnotationSet, ExportedAnnotations, FaceLabel, FileRow, Filter
from indexd.store.sqlite.annotations.tags import normalize_tag
from indexd.store.sqlite.store import Store
from indexd.watch.roots import watched_folders
from indexd_schemas.api.annotations import (
    MAX_TAG_CHARACTERS,
    AnnotateMatchingRequest,
    AnnotationPage,
    AnnotationRecord,
    ExportRequest,
    FaceLabelRecord,
    ForgetReport,
    ForgetRequest,
    ImportReport,
    ImportRequest,
    LocatedRecord,
    RelocatedRoot,
    RelocateRequest,
)
from indexd_schemas.api.annotations import RelocateReport as RelocatedReply
from indexd_schemas.api.output import AnnotateReport

BATCH_SIZE = 5000
MAX_EXAMPLES = 20


def check_tags(add: Sequence[str], remove: Sequence[str]) -> None:
    """Raises UsageError for what cannot be a tag."""
    for name in (*add, *remove):
        if not normalize_tag(name) or len(name) > MAX_TAG_CHARACTERS or not name.isprintable():
            raise UsageError(f"{name[:40]!r} is no tag: one line of 1 to {MAX_TAG_CHARACTERS} characters")
    for name in add:
        if "*" in name:
            raise UsageError(f"{name[:40]!r} cannot be put on: `*` stands for anything when tags are looked for")


def matching_image_ids(store: Store, texts: Sequence[str]) -> Set[int]:
    """The pictures that `indexd query` would list for these filters: those that lie nowhere only when asked for."""
    filters = parse_filters(texts)
    if not filters:
        raise UsageError("say which pictures: a query of at least one filter, like 'model:pony rating:4..'")
    if not any(one.key == "missing" for one in filters):
        filters.append(Filter("missing", "=", "no"))
    return store.filters.ids(filters) or set()


def annotate_matching(store: Store, request: AnnotateMatchingRequest) -> AnnotateReport:
    """See Operations."""
    check_tags(request.add, request.remove)
    if request.rating is None and not request.add and not request.remove and request.note is None:
        raise UsageError("say what to do with the pictures: a rating, tags or a note")
    ids = matching_image_ids(store, request.filters)
    if request.at_most is not None and len(ids) > request.at_most:
        raise UsageError(f"{len(ids)} pictures match by now, {request.at_most} were expected; ask again")
    if request.dry_run:
        return AnnotateReport(changed=len(ids))
    changed, waiting = 0, iter(sorted(ids))
    while some := list(itertools.islice(waiting, BATCH_SIZE)):
        if request.rating is not None:
            changed_now = store.annotations.rate(some, request.rating)
        if request.add or request.remove:
            changed_now = store.annotations.tag(some, request.add, request.remove)
        if request.note is not None:
            changed_now = store.annotations.note(some, request.note, append=request.append)
        changed += changed_now
    return AnnotateReport(changed=changed)


def export_page(store: Store, request: ExportRequest) -> AnnotationPage:
    """See Operations."""
    among = matching_image_ids(store, request.filters) if request.filters else None
    found, following = store.annotation_exchange.export_page(request.cursor, request.limit, among)
    return AnnotationPage(records=[_placed_record(kept) for kept in found], next=following)


def _placed_record(exported: ExportedAnnotations) -> LocatedRecord:
    marks = exported.annotations
    record = AnnotationRecord(
        hash=exported.content_hash.hex(),
        rating=marks.rating,
        rated_at=marks.rated_at if marks.rating is not None else None,
        tags=sorted(marks.tags),
        note=marks.note or None,
        noted_at=marks.noted_at if marks.note else None,
        faces=[_export_face_label(face) for face in exported.faces] or None,
        name=exported.name,
    )
    return LocatedRecord(record=record, places=[quote_from_bytes(place, safe="/") for place in exported.paths])


def _export_face_label(face: FaceLabel) -> FaceLabelRecord:
    return FaceLabelRecord(
        kind=face.kind,
        box=face.box,
        character=face.name,
        word=face.verdict,
        said_at=face.labelled_at or None,
        hidden=face.hidden or None,
        threshold=face.threshold,
    )


def _import_face_label(mark: FaceLabelRecord) -> FaceLabel:
    name = validate_character_name(mark.character)
    return FaceLabel(mark.kind, mark.box, name, mark.word, mark.said_at or 0.0, bool(mark.hidden), mark.threshold)


def import_annotations(store: Store, request: ImportRequest) -> ImportReport:
    """See Operations."""
    given: dict[bytes, AnnotationSet] = {}
    faces: dict[bytes, list[FaceLabel]] = {}
    for record in request.records:
        check_tags(record.tags, ())
        content_hash = bytes.fromhex(record.hash)
        if content_hash in given:
            raise UsageError(f"the content {record.hash} is there twice; send it in two requests")
        faces[content_hash] = [_import_face_label(mark) for mark in record.faces or ()]
        given[content_hash] = AnnotationSet(
            record.rating, record.rated_at or 0.0, frozenset(record.tags), record.note, record.noted_at or 0.0
        )
    taken = store.annotation_exchange.import_annotations(
        given, faces, prefer_given=request.prefer_file, dry_run=request.dry_run
    )
    return ImportReport(
        records=len(given), changed=taken.changed, same=taken.same, waiting=taken.pending, dry_run=request.dry_run
    )


def relocate(store: Store, config: Config, context: DaemonContext | None, request: RelocateRequest) -> RelocatedReply:
    """See Operations."""
    old, new = _absolute_folder(request.old), _absolute_folder(request.new)
    if path_parts(old) == path_parts(new):
        raise UsageError("both are the same folder")
    watched = [root.root_id for root in context.watch.status()] if context is not None else []
    done = store.relocation.relocate(old, new, watched, dry_run=request.dry_run)
    notes = []
    if os.path.isdir(old):
        notes.append(f"{display(old)} is still there; pictures that lie in it are found there too by the next scan")
    settings = {path_parts(folder.path) for folder in watched_folders(config)}
    for before, after in done.roots:
        if path_parts(before) in settings and path_parts(after) not in settings:
            notes.append(f'change path = "{display(before)}" to "{display(after)}" in {config.paths.settings_file}')
    if context is not None and not request.dry_run:
        if notes and done.roots:
            notes.append("then start the daemon again: it watches the folders that it knew when it was started")
        context.watch.scan(None, wait=False)
    return RelocatedReply(
        files=done.files,
        dropped=done.dropped,
        roots=[RelocatedRoot(old=display(before), new=display(after)) for before, after in done.roots],
        notes=notes,
        dry_run=request.dry_run,
    )


def forget(store: Store, config: Config, context: DaemonContext | None, request: ForgetRequest) -> ForgetReport:
    """See Operations."""
    under = _absolute_folder(request.under) if request.under is not None else None
    if request.offline and under is None:
        raise UsageError("say which folder is gone for good: --under FOLDER --offline")
    before = time.time() - request.older_than_seconds
    chosen: list[FileRow] = []
    still_there = 0
    away = _offline_root_ids(store, config, under) if request.offline and under is not None else []
    for row in store.forgetter.missing_files(before, away):
        if under is not None and relative_to(row.path, under) is None:
            continue
        if _may_exist(row.path):
            still_there += 1
        else:
            chosen.append(row)
    images = store.forgetter.orphaned_by(row.id for row in chosen)
    if under is None:
        images += store.forgetter.without_files(before)
    reply = ForgetReport(
        files=len(chosen),
        images=len(images),
        marks_kept=0,
        still_there=still_there,
        examples=[display(row.path) for row in chosen[:MAX_EXAMPLES]],
        dry_run=request.dry_run,
    )
    if request.dry_run:
        marks = 0 if request.with_marks else store.forgetter.count_annotated(images)
        return reply.model_copy(update={"marks_kept": marks})
    gone = store.forgetter.forget(chosen, images, with_annotations=request.with_marks)
    if context is not None and request.offline:
        # Another folder in the place of the one that is gone for good may be the library from now on.
        context.watch.scan(None, wait=False)
    return reply.model_copy(update={"files": gone.files, "images": gone.images, "marks_kept": gone.annotations_kept})


def _offline_root_ids(store: Store, config: Config, under: bytes) -> list[int]:
    """The roots that hold or lie under a folder and are offline, or are watched no more. Each file is looked for all the same."""
    settings = {folder.path for folder in watched_folders(config)}
    return [
        root.id
        for root in store.roots.all()
        if (relative_to(root.path, under) is not None or relative_to(under, root.path) is not None)
        and not (root.online and root.path in settings and os.path.isdir(root.path))
    ]


def _may_exist(path: bytes) -> bool:
    """Whether a file lies there, or whether that cannot be told: then it is not forgotten."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _absolute_folder(text: str) -> bytes:
    path = unquote_to_bytes(text)
    if not is_absolute_path(path) or b"\0" in path:
        raise UsageError(f"{display(path)!r} is no absolute path")
    return path
