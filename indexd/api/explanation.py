"""Explains why a file is, or is not, in the index."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from indexd.api.context import OperationContext
from indexd.api.image_details import pending_index_tasks
from indexd.api.status_report import current_role_states
from indexd.config import Config
from indexd.fs.file_stamp import FileStamp
from indexd.fs.paths import absolute, display, relative
from indexd.store.protocols import IndexStore
from indexd.store.records import FileRow, RootRow
from indexd.watch.roots import WatchedFolder, watched_folders
from indexd_schemas.api.output import Explanation, PendingTask, RoleState

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"


def explain_path(context: OperationContext, path: bytes) -> Explanation:
    """The explanation of an absolute path: from its row in the index, else from the rules for file names."""
    store, daemon_running = context.store, context.daemon is not None
    row = store.files.find(path)
    if row is None:
        return _explain_unknown(context.config, path, daemon_running)
    roots = {root.id: root for root in store.roots.all()}
    role_states = current_role_states(context.config, context.daemon)
    return _explain_known(store, row, roots.get(row.root_id), daemon_running, role_states)


def _explain_known(
    store: IndexStore, row: FileRow, root: RootRow | None, daemon_running: bool, role_states: Sequence[RoleState]
) -> Explanation:
    name = display(row.path)
    work = pending_index_tasks(store, role_states, row.image_id) if row.image_id is not None else []
    if root is not None and not root.online:
        text = (
            f"its folder {display(root.path)} is offline ({root.reason or 'not there'}); its images stay in the index"
        )
        return Explanation(path=name, state="missing", sentences=[text], image_id=row.image_id, index_tasks=work)
    if row.missing_since is not None:
        when = time.strftime(TIME_FORMAT, time.localtime(row.missing_since))
        text = f"the file has been missing since {when}; rating and tags stay with its content"
        return Explanation(path=name, state="missing", sentences=[text], image_id=row.image_id, index_tasks=work)
    changed = _change_sentences(row, daemon_running)
    if row.problem is not None or row.image_id is None:
        sentences = [f"it was read and skipped: {row.problem or 'it contains no image'}", *changed]
        return Explanation(path=name, state="skipped", sentences=sentences)
    sentences = [f"it is in the index as #{row.image_id}", *changed, *map(_task_sentence, work)]
    image = store.images.get(row.image_id)
    if image is not None:
        sentences += [text for text in (image.decode_problem, image.parse_problem) if text]
        sentences += [f"the same content is also at {display(file.path)}" for file in image.files if file.id != row.id]
    state = "pending" if work else "indexed"
    return Explanation(path=name, state=state, sentences=sentences, image_id=row.image_id, index_tasks=work)


def _change_sentences(row: FileRow, daemon_running: bool) -> list[str]:
    try:
        found = os.lstat(row.path)
    except OSError:
        return ["it does not exist any more; the next scan will mark it as missing"]
    # Some systems and shares have no lasting inode; size and time are what every stamp has.
    stamps = (FileStamp.from_stat(found), FileStamp.of_unreadable(found))
    if any((now.size, now.mtime_ns) == (row.stamp.size, row.stamp.mtime_ns) for now in stamps):
        return []
    return [f"it has changed since; {_next_read_sentence(daemon_running)}"]


def _task_sentence(task: PendingTask) -> str:
    if task.state == "failed":
        return f"{task.stage} failed after {task.attempts} attempts: {task.error or 'unknown error'}"
    if task.state == "blocked":
        return f"{task.stage} waits: {task.error}"
    if task.waits_for:
        return f"{task.stage} waits: {task.waits_for}"
    return f"{task.stage} is {'being computed' if task.state == 'running' else 'still to be computed'}"


def _explain_unknown(config: Config, path: bytes, daemon_running: bool) -> Explanation:
    name = display(path)
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        text = f"there is no such file ({error.strerror}), and the index has no record of one"
        return Explanation(path=name, state="unknown", sentences=[text])
    root = _innermost_watched_folder(config, path)
    if root is None:
        watched = ", ".join(display(folder.path) for folder in watched_folders(config))
        text = f"it is in no watched folder; watched folders: {watched}. Add its folder as [[roots]] to the settings"
        return Explanation(path=name, state="outside", sentences=[text])
    rel = relative(root.path, path) or b""
    reason = root.watch_filter.exclusion_reason(rel) if rel else "it is a watched folder itself"
    if reason is not None:
        return Explanation(path=name, state="ignored", sentences=[reason])
    link = _linked_folder(root.path, rel)
    if link is not None:
        text = (
            f"its folder {display(link)} is a link, and linked folders are not entered; to index what is there, add"
            f" {display(os.path.realpath(link))} as [[roots]] to the settings"
        )
        return Explanation(path=name, state="ignored", sentences=[text])
    if not stat.S_ISREG(mode):
        text = "it is not a regular file but a folder, link, pipe or device; indexd does not read those"
        return Explanation(path=name, state="skipped", sentences=[text])
    return Explanation(
        path=name, state="unknown", sentences=[f"it has not been read yet; {_next_read_sentence(daemon_running)}"]
    )


def _linked_folder(root: bytes, rel: bytes) -> bytes | None:
    """The first folder on the way from a root to a file that is a link; None when there is none."""
    parts = rel.split(b"/")
    folders = (absolute(root, b"/".join(parts[:depth])) for depth in range(1, len(parts)))
    return next((folder for folder in folders if Path(os.fsdecode(folder)).is_symlink()), None)


def _next_read_sentence(daemon_running: bool) -> str:
    if daemon_running:
        return "the daemon reads it once no program writes to it any more (`indexd scan` reads it now)"
    return "the daemon is not running: start it with `indexd run`, or run `indexd scan --once`"


def _innermost_watched_folder(config: Config, path: bytes) -> WatchedFolder | None:
    holding = [folder for folder in watched_folders(config) if relative(folder.path, path) is not None]
    return max(holding, key=lambda folder: len(folder.path), default=None)
