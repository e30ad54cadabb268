"""The status document and the readiness check. Without a daemon only the index is described."""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from pathlib import Path

from indexd.api.context import DaemonContext
from indexd.config import Config
from indexd.errors import StoreError
from indexd.fs.paths import display
from indexd.jobs.files.unread_files import find_unread_job_files
from indexd.model_roles import role_states
from indexd.store.protocols import IndexStore
from indexd_schemas.api.output import DaemonEvent, DaemonStatus, RoleState, RootState, WorkerState
from indexd_schemas.api.responses import Readiness, ScanReport

RECENT_EVENTS = 20


def status(store: IndexStore, config: Config, daemon: DaemonContext | None) -> DaemonStatus:
    """The document of `indexd status`."""
    present, missing = store.files.counts()
    return DaemonStatus(
        running=daemon is not None,
        version=version("indexd"),
        pid=os.getpid() if daemon else None,
        uptime_seconds=max(0.0, time.time() - daemon.started_at) if daemon else None,
        home=str(config.paths.home),
        index=str(config.paths.index),
        index_bytes=_index_bytes(config.paths.index),
        images=store.images.count(),
        files=present,
        missing_files=missing,
        roots=root_states(store, daemon),
        pending=store.index_tasks.counts(),
        jobs=store.jobs.counts(),
        queue_paused=store.jobs.pause_reason(),
        unread_job_files=_unread_job_files(config.paths.inbox),
        workers=worker_states(daemon),
        roles=current_role_states(config, daemon),
        events=[DaemonEvent(at=row.at, kind=row.kind, text=row.text) for row in store.events.recent(RECENT_EVENTS)],
    )


def run_scan(store: IndexStore, daemon: DaemonContext, *, wait: bool) -> ScanReport:
    """Start a scan of every root; with `wait` until its files are recorded."""
    began = time.perf_counter()
    daemon.watch.scan(None, wait=wait)
    if wait:
        daemon.drain()
    seconds = round(time.perf_counter() - began, 3)
    present, missing = store.files.counts()
    return ScanReport(
        waited=wait,
        seconds=seconds,
        images=store.images.count(),
        files=present,
        missing_files=missing,
        roots=root_states(store, daemon),
    )


def root_states(store: IndexStore, daemon: DaemonContext | None) -> list[RootState]:
    """Every watched folder, as the watch service sees it now, else as the daemon last recorded it."""
    if daemon is None:
        return [
            RootState(path=display(row.path), purpose=row.purpose, mode=row.mode, reason=row.reason, online=row.online)
            for row in store.roots.all()
        ]
    return [
        RootState(
            path=display(row.path),
            purpose=row.purpose,
            mode=row.mode,
            reason=row.reason,
            online=row.online,
            pending=row.pending,
            last_reconcile=row.last_reconcile,
            lost_events=row.lost_events,
        )
        for row in daemon.watch.status()
    ]


def worker_states(daemon: DaemonContext | None) -> list[WorkerState]:
    """Every worker lane that was used."""
    if daemon is None:
        return []
    return [
        WorkerState(
            lane=lane.lane,
            pid=lane.pid,
            alive=lane.alive,
            deaths=lane.deaths,
            queued=lane.queued,
            running=lane.running,
            models=dict(lane.models),
        )
        for lane in daemon.workers.status()
    ]


def current_role_states(config: Config, daemon: DaemonContext | None) -> list[RoleState]:
    """Every model role. One is off where the settings name no model, or the daemon could not load it."""
    blocked = daemon.blocked_roles() if daemon is not None else {}
    return [
        state.model_copy(update={"on": False, "detail": blocked[state.role]})
        if state.on and state.role in blocked
        else state
        for state in role_states(config)
    ]


def _unread_job_files(inbox: Path) -> list[str]:
    try:
        return [one.sentence for one in find_unread_job_files(inbox)]
    except OSError as error:
        return [f"{display(os.fsencode(inbox))} cannot be listed: {error.strerror or error}"]


def _index_bytes(index: Path) -> int:
    """The size of the index with its write-ahead log."""
    files = (index, index.with_name(f"{index.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def readiness(store: IndexStore, daemon: DaemonContext | None) -> Readiness:
    """Ready when the index answers, each online folder was scanned and every queue moves; else the reasons.

    An offline folder is no reason: a restart does not cure it.
    """
    if daemon is None:
        return Readiness(ready=False, reasons=["the daemon is not running"])
    reasons = []
    try:
        store.jobs.pause_reason()
    except StoreError as error:
        reasons.append(f"the index cannot be read: {error}")
    reasons += [
        f"{display(root.path)} was not scanned yet"
        for root in daemon.watch.status()
        if root.online and root.last_reconcile is None
    ]
    reasons += [
        f"{liveness.name} has made no progress for {liveness.overdue_seconds():.0f} s"
        for liveness in daemon.thread_liveness()
        if liveness.is_overdue()
    ]
    return Readiness(ready=not reasons, reasons=reasons)
