"""Checks the index: it opens, passes its checks, agrees with samples of the disk, and has a recent backup."""

from __future__ import annotations

import time
from collections.abc import Iterator

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, failed, ok, warning
from indexd.errors import IndexdError
from indexd.store.sqlite.recovery.backup_retention import is_backup_overdue, list_backups
from indexd.store.sqlite.recovery.index_check import check_index
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.output import DoctorCheck

LATE_BACKUP_SECONDS = 3 * 86400.0


def check_index_health(config: Config) -> Iterator[DoctorFinding]:
    """Check that the index opens and is intact; report failed index tasks and a paused queue."""
    path = config.paths.index
    if not path.exists():
        yield ok("index", f"{path} will be created at the first start")
        return
    try:
        store = SqliteStore.open(path, read_only=True)
    except IndexdError as error:
        yield failed("index", str(error), "see the text, `indexd check` and `indexd backup --list`")
        return
    try:
        yield ok("index", f"{store.images.count()} images in {path}")
        failed_tasks = {
            stage: states["failed"] for stage, states in store.index_tasks.counts().items() if states.get("failed")
        }
        if failed_tasks:
            text = ", ".join(f"{count} {stage}" for stage, count in sorted(failed_tasks.items()))
            yield warning("index tasks", f"failed after several attempts: {text}", "run `indexd explain FILE`")
        if (reason := store.jobs.pause_reason()) is not None:
            yield warning("queue", f"paused: {reason}", "remove the cause; the queue resumes by itself")
    finally:
        store.close()
    for found in check_index(path, full=False):
        check = DoctorCheck(name=f"index {found.name}", state=found.state, detail=found.detail, advice=found.advice)
        yield DoctorFinding(check)


def check_backups(config: Config) -> Iterator[DoctorFinding]:
    """Check that there is a recent backup."""
    folder = config.paths.backups
    newest = next(iter(list_backups(folder)), None)
    if newest is not None and not is_backup_overdue(folder, time.time(), LATE_BACKUP_SECONDS):
        yield ok("backups", f"the newest is {newest.path}")
    elif config.paths.index.exists():
        detail = f"the newest is {newest.path}" if newest else f"there are none in {folder}"
        yield warning(
            "backups", detail, "`indexd backup` makes one; the daemon makes one every night ([backup] in the settings)"
        )
