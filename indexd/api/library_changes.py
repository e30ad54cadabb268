"""Changes of the library: moved folders, missing files, and stored metadata that is parsed again."""

from __future__ import annotations

import os
import stat
import sys
import time
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from indexd.api.context import OperationContext
from indexd.errors import UsageError
from indexd.fs.paths import display
from indexd.image_metadata.model import PARSER_VERSION, PhotoAnnotations
from indexd.images.reader_client import parse_stored_texts
from indexd.indexing.stages import text_layers_by_input
from indexd.store.path_prefix import is_absolute_path, path_parts, relative_to
from indexd.store.protocols import IndexStore
from indexd.store.records import FileRow
from indexd.watch.roots import watched_folders
from indexd.worker.calls import StoredTexts
from indexd_schemas.api.annotations import ForgetReport, ForgetRequest, RelocatedRoot, RelocateReport, RelocateRequest
from indexd_schemas.api.requests import ReparseRequest
from indexd_schemas.api.responses import ReparseReport
from indexd_schemas.settings import SuggestionMode

MAX_EXAMPLES = 20


def relocate(context: OperationContext, request: RelocateRequest) -> RelocateReport:
    old, new = _absolute_folder(request.old), _absolute_folder(request.new)
    if path_parts(old) == path_parts(new):
        raise UsageError("both paths name the same folder")
    daemon = context.daemon
    root_ids = [root.root_id for root in daemon.watch.status()] if daemon is not None else []
    done = context.store.relocation.relocate(old, new, root_ids, dry_run=request.dry_run)
    notes = []
    if os.path.isdir(old):
        notes.append(f"{display(old)} still exists; the next scan adds the images in it again")
    watched = {path_parts(folder.path) for folder in watched_folders(context.config)}
    for before, after in done.roots:
        if path_parts(before) in watched and path_parts(after) not in watched:
            settings_file = context.config.paths.settings_file
            notes.append(f'change path = "{display(before)}" to "{display(after)}" in {settings_file}')
    if daemon is not None and not request.dry_run:
        if notes and done.roots:
            notes.append("then restart the daemon: it watches the folders of the settings it started with")
        daemon.watch.scan(None, wait=False)
    return RelocateReport(
        files=done.files,
        dropped=done.dropped,
        roots=[RelocatedRoot(old=display(before), new=display(after)) for before, after in done.roots],
        notes=notes,
        dry_run=request.dry_run,
    )


def forget(context: OperationContext, request: ForgetRequest) -> ForgetReport:
    store = context.store
    under = _absolute_folder(request.under) if request.under is not None else None
    if request.offline and under is None:
        raise UsageError("--offline needs --under FOLDER")
    before = time.time() - request.older_than_seconds
    chosen: list[FileRow] = []
    still_there = 0
    offline = _offline_root_ids(context, under) if request.offline and under is not None else []
    for row in store.forgetter.missing_files(before, offline):
        if under is not None and relative_to(row.path, under) is None:
            continue
        if _may_exist(row.path):
            still_there += 1
        else:
            chosen.append(row)
    images = store.forgetter.orphaned_by(row.id for row in chosen)
    if under is None:
        images += store.forgetter.without_files(before)
    report = ForgetReport(
        files=len(chosen),
        images=len(images),
        annotations_kept=0,
        still_there=still_there,
        examples=[display(row.path) for row in chosen[:MAX_EXAMPLES]],
        dry_run=request.dry_run,
    )
    if request.dry_run:
        kept = 0 if request.with_annotations else store.forgetter.count_annotated(images)
        return report.model_copy(update={"annotations_kept": kept})
    forgotten = store.forgetter.forget(chosen, images, with_annotations=request.with_annotations)
    if context.daemon is not None and request.offline:
        # A folder that was rejected because it replaced the forgotten one may be accepted now.
        context.daemon.watch.scan(None, wait=False)
    return report.model_copy(
        update={"files": forgotten.files, "images": forgotten.images, "annotations_kept": forgotten.annotations_kept}
    )


def _offline_root_ids(context: OperationContext, under: bytes) -> list[int]:
    """The roots that contain a folder or lie under it, and are offline or not watched any more."""
    watched = {folder.path for folder in watched_folders(context.config)}
    return [
        root.id
        for root in context.store.roots.all()
        if (relative_to(root.path, under) is not None or relative_to(under, root.path) is not None)
        and not (root.online and root.path in watched and os.path.isdir(root.path))
    ]


def _may_exist(path: bytes) -> bool:
    """Whether a regular file is there, or that is unknown (then it must not be forgotten)."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _absolute_folder(text: str) -> bytes:
    path = unquote_to_bytes(text)
    if not is_absolute_path(path) or b"\0" in path:
        raise UsageError(f"{display(path)!r} is not an absolute path")
    return path


# Problems that a metadata parser reported begin with this; the others come from the file itself and stay.
_READER_PROBLEM_PREFIX = "the reader of "


def reparse_metadata(store: IndexStore, request: ReparseRequest, suggestions: SuggestionMode = "show") -> ReparseReport:
    """Parse the stored metadata of the next images again. Reads no file."""
    version = sys.maxsize if request.everything else PARSER_VERSION
    ids, left = store.images.find_outdated(version, request.after, request.limit)
    if not ids:
        return ReparseReport(read=0, changed=0, last_id=None, left=0)
    raws, problems = store.images.raw_chunks_by_image(ids), store.images.parse_problems(ids)
    rows = store.images.rows(ids)
    stored = [
        StoredTexts(
            tuple(raws.get(image_id, ())),
            _file_problems(problems.get(image_id)),
            (rows[image_id].width, rows[image_id].height) if image_id in rows else None,
        )
        for image_id in ids
    ]
    parsed = {
        image_id: replace(metadata, raw=texts.chunks)
        for image_id, texts, metadata in zip(ids, stored, parse_stored_texts(stored), strict=True)
    }
    changed = store.images.update_metadata(parsed, text_layers_by_input())
    store.annotations.suggest(
        {image_id: metadata.annotations or PhotoAnnotations() for image_id, metadata in parsed.items()}, suggestions
    )
    return ReparseReport(read=len(ids), changed=changed, last_id=ids[-1], left=left - len(ids))


def _file_problems(problem: str | None) -> tuple[str, ...]:
    return tuple(part for part in (problem or "").split("; ") if part and not part.startswith(_READER_PROBLEM_PREFIX))
