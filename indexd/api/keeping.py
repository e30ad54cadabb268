"""What people put in, as operations: marks in bulk, out and in by content, and the places of a library put right."""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import Sequence, Set
from urllib.parse import quote_from_bytes, unquote_to_bytes

from indexd.api.live import LiveParts
from indexd.characters.find import character_name
from indexd.config import Config
from indexd.errors import UsageError
from indexd.search.language import parse
from indexd.store.index import Store
from indexd.store.keeping import Kept
from indexd.store.merging import MarkSet
from indexd.store.named_faces import NamedFace
from indexd.store.records import FileRow, Filter
from indexd.store.tags import tag_name
from indexd.store.trees import below, is_absolute, parts_of
from indexd.watch.folders import watched_folders
from indexd.watch.paths import display
from indexd_schemas.marks import (
    MOST_TAG_CHARACTERS,
    ExportRequest,
    FaceMark,
    ForgetRequest,
    Forgotten,
    Imported,
    ImportRequest,
    MarkMatchingRequest,
    MarkPage,
    MarkRecord,
    PlacedRecord,
    RelocatedRoot,
    RelocateRequest,
)
from indexd_schemas.marks import Relocated as RelocatedReply
from indexd_schemas.output import Marked

AT_ONCE = 5000
MOST_EXAMPLES = 20


def check_tags(add: Sequence[str], remove: Sequence[str]) -> None:
    """Raises UsageError for what cannot be a tag."""
    for name in (*add, *remove):
        if not tag_name(name) or len(name) > MOST_TAG_CHARACTERS or not name.isprintable():
            raise UsageError(f"{name[:40]!r} is no tag: one line of 1 to {MOST_TAG_CHARACTERS} characters")
    for name in add:
        if "*" in name:
            raise UsageError(f"{name[:40]!r} cannot be put on: `*` stands for anything when tags are looked for")


def matching(store: Store, texts: Sequence[str]) -> Set[int]:
    """The pictures that `indexd query` would list for these filters: those that lie nowhere only when asked for."""
    filters = parse(texts)
    if not filters:
        raise UsageError("say which pictures: a query of at least one filter, like 'model:pony rating:4..'")
    if not any(one.key == "missing" for one in filters):
        filters.append(Filter("missing", "=", "no"))
    return store.filters.ids(filters) or set()


def mark_matching(store: Store, request: MarkMatchingRequest) -> Marked:
    """See Operations."""
    check_tags(request.add, request.remove)
    if request.rating is None and not request.add and not request.remove and request.note is None:
        raise UsageError("say what to do with the pictures: a rating, tags or a note")
    ids = matching(store, request.filters)
    if request.at_most is not None and len(ids) > request.at_most:
        raise UsageError(f"{len(ids)} pictures match by now, {request.at_most} were expected; ask again")
    if request.dry_run:
        return Marked(changed=len(ids))
    changed, waiting = 0, iter(sorted(ids))
    while some := list(itertools.islice(waiting, AT_ONCE)):
        if request.rating is not None:
            changed_now = store.marks.rate(some, request.rating)
        if request.add or request.remove:
            changed_now = store.marks.tag(some, request.add, request.remove)
        if request.note is not None:
            changed_now = store.marks.note(some, request.note, append=request.append)
        changed += changed_now
    return Marked(changed=changed)


def export_page(store: Store, request: ExportRequest) -> MarkPage:
    """See Operations."""
    among = matching(store, request.filters) if request.filters else None
    found, following = store.keeping.page(request.cursor, request.limit, among)
    return MarkPage(records=[_placed(kept) for kept in found], next=following)


def _placed(kept: Kept) -> PlacedRecord:
    marks = kept.marks
    record = MarkRecord(
        hash=kept.content_hash.hex(),
        rating=marks.rating,
        rated_at=marks.rated_at if marks.rating is not None else None,
        tags=sorted(marks.tags),
        note=marks.note or None,
        noted_at=marks.noted_at if marks.note else None,
        faces=[_face_mark(face) for face in kept.faces] or None,
        name=kept.name,
    )
    return PlacedRecord(record=record, places=[quote_from_bytes(place, safe="/") for place in kept.places])


def _face_mark(face: NamedFace) -> FaceMark:
    return FaceMark(
        kind=face.kind,
        box=face.box,
        character=face.name,
        word=face.word,
        said_at=face.said_at or None,
        hidden=face.hidden or None,
        threshold=face.threshold,
    )


def _named_face(mark: FaceMark) -> NamedFace:
    name = character_name(mark.character)
    return NamedFace(mark.kind, mark.box, name, mark.word, mark.said_at or 0.0, bool(mark.hidden), mark.threshold)


def import_marks(store: Store, request: ImportRequest) -> Imported:
    """See Operations."""
    given: dict[bytes, MarkSet] = {}
    faces: dict[bytes, list[NamedFace]] = {}
    for record in request.records:
        check_tags(record.tags, ())
        content_hash = bytes.fromhex(record.hash)
        if content_hash in given:
            raise UsageError(f"the content {record.hash} is there twice; send it in two requests")
        faces[content_hash] = [_named_face(mark) for mark in record.faces or ()]
        given[content_hash] = MarkSet(
            record.rating, record.rated_at or 0.0, frozenset(record.tags), record.note, record.noted_at or 0.0
        )
    taken = store.keeping.take_in(given, faces, prefer_given=request.prefer_file, dry_run=request.dry_run)
    return Imported(
        records=len(given), changed=taken.changed, same=taken.same, waiting=taken.waiting, dry_run=request.dry_run
    )


def relocate(store: Store, config: Config, live: LiveParts | None, request: RelocateRequest) -> RelocatedReply:
    """See Operations."""
    old, new = _tree(request.old), _tree(request.new)
    if parts_of(old) == parts_of(new):
        raise UsageError("both are the same folder")
    watched = [root.root_id for root in live.watch.status()] if live is not None else []
    done = store.relocation.relocate(old, new, watched, dry_run=request.dry_run)
    notes = []
    if os.path.isdir(old):
        notes.append(f"{display(old)} is still there; pictures that lie in it are found there too by the next scan")
    settings = {parts_of(folder.path) for folder in watched_folders(config)}
    for before, after in done.roots:
        if parts_of(before) in settings and parts_of(after) not in settings:
            notes.append(f'change path = "{display(before)}" to "{display(after)}" in {config.places.settings_file}')
    if live is not None and not request.dry_run:
        if notes and done.roots:
            notes.append("then start the daemon again: it watches the folders that it knew when it was started")
        live.watch.scan(None, wait=False)
    return RelocatedReply(
        files=done.files,
        dropped=done.dropped,
        roots=[RelocatedRoot(old=display(before), new=display(after)) for before, after in done.roots],
        notes=notes,
        dry_run=request.dry_run,
    )


def forget(store: Store, config: Config, live: LiveParts | None, request: ForgetRequest) -> Forgotten:
    """See Operations."""
    under = _tree(request.under) if request.under is not None else None
    if request.offline and under is None:
        raise UsageError("say which folder is gone for good: --under FOLDER --offline")
    before = time.time() - request.older_than_seconds
    chosen: list[FileRow] = []
    still_there = 0
    away = _away(store, config, under) if request.offline and under is not None else []
    for row in store.forgetting.missing_files(before, away):
        if under is not None and below(row.path, under) is None:
            continue
        if _is_there(row.path):
            still_there += 1
        else:
            chosen.append(row)
    images = store.forgetting.left_behind(row.id for row in chosen)
    if under is None:
        images += store.forgetting.homeless(before)
    reply = Forgotten(
        files=len(chosen),
        images=len(images),
        marks_kept=0,
        still_there=still_there,
        examples=[display(row.path) for row in chosen[:MOST_EXAMPLES]],
        dry_run=request.dry_run,
    )
    if request.dry_run:
        marks = 0 if request.with_marks else store.forgetting.marked(images)
        return reply.model_copy(update={"marks_kept": marks})
    gone = store.forgetting.forget(chosen, images, with_marks=request.with_marks)
    if live is not None and request.offline:
        # Another folder in the place of the one that is gone for good may be the library from now on.
        live.watch.scan(None, wait=False)
    return reply.model_copy(update={"files": gone.files, "images": gone.images, "marks_kept": gone.marks_kept})


def _away(store: Store, config: Config, under: bytes) -> list[int]:
    """The roots that hold or lie under a folder and are offline, or are watched no more. Each file is looked for all the same."""
    settings = {folder.path for folder in watched_folders(config)}
    return [
        root.id
        for root in store.roots.all()
        if (below(root.path, under) is not None or below(under, root.path) is not None)
        and not (root.online and root.path in settings and os.path.isdir(root.path))
    ]


def _is_there(path: bytes) -> bool:
    """Whether a file lies there, or whether that cannot be told: then it is not forgotten."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _tree(text: str) -> bytes:
    path = unquote_to_bytes(text)
    if not is_absolute(path) or b"\0" in path:
        raise UsageError(f"{display(path)!r} is no absolute path")
    return path
