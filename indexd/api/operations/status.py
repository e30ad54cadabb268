"""How everything stands: the numbers of the index, and of the daemon's live parts where there are any."""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from pathlib import Path

from indexd.api.context import DaemonContext
from indexd.config import Config
from indexd.errors import StoreError
from indexd.fs.paths import display
from indexd.model_roles import role_states
from indexd.store.sqlite.store import Store
from indexd_schemas.api.output import DaemonEvent, DaemonStatus, RoleState, RootState, WorkerState
from indexd_schemas.api.responses import Readiness, ScanReport

RECENT_EVENTS = 20


def status(store: Store, config: Config, context: DaemonContext | None) -> DaemonStatus:
    """What `indexd status` shows."""
    present, missing = store.files.counts()
    return DaemonStatus(
        running=context is not None,
        version=version("indexd"),
        pid=os.getpid() if context else None,
        uptime_seconds=max(0.0, time.time() - context.started_at) if context else None,
        home=str(config.paths.home),
        index=str(config.paths.index),
        index_bytes=_index_bytes(config.paths.index),
        images=store.images.count(),
        files=present,
        missing_files=missing,
        roots=root_states(store, context),
        pending=store.index_tasks.counts(),
        jobs=store.jobs.counts(),
        queue_paused=store.jobs.pause_reason(),
        workers=worker_states(context),
        roles=current_role_states(config, context),
        events=[DaemonEvent(at=row.at, kind=row.kind, text=row.text) for row in store.events.recent(RECENT_EVENTS)],
    )


def scan_result(store: Store, context: DaemonContext, *, waited: bool, seconds: float) -> ScanReport:
    """What `indexd scan` shows."""
    present, missing = store.files.counts()
    return ScanReport(
        waited=waited,
        seconds=round(seconds, 3),
        images=store.images.count(),
        files=present,
        missing_files=missing,
        roots=root_states(store, context),
    )


def root_states(store: Store, context: DaemonContext | None) -> list[RootState]:
    """Every watched folder: as the watchers see it now, else as the daemon last left it."""
    if context is None:
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
        for row in context.watch.status()
    ]


def worker_states(context: DaemonContext | None) -> list[WorkerState]:
    """Every lane of the workers that was used."""
    if context is None:
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
        for lane in context.workers.status()
    ]


def current_role_states(config: Config, context: DaemonContext | None) -> list[RoleState]:
    """Every role, as the settings have it and as the daemon found it: a model that cannot be loaded is off as well."""
    waits = context.blocked_roles() if context is not None else {}
    return [
        state.model_copy(update={"on": False, "detail": waits[state.role]})
        if state.on and state.role in waits
        else state
        for state in role_states(config)
    ]


def _index_bytes(index: Path) -> int:
    """The size of the index with its write-ahead log."""
    files = (index, index.with_name(f"{index.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


# Whether the daemon can be relied on now: alive is not enough, its index must answer and its queues must move.


def readiness(store: Store, context: DaemonContext | None) -> Readiness:
    """Ready, or every reason why not. A folder that is offline is no reason: nothing can be done about it here."""
    if context is None:
        return Readiness(ready=False, reasons=["the daemon is not running"])
    reasons = []
    try:
        store.jobs.pause_reason()
    except StoreError as error:
        reasons.append(f"the index does not answer: {error}")
    reasons += [
        f"{display(root.path)} was not yet compared with the index"
        for root in context.watch.status()
        if root.online and root.last_reconcile is None
    ]
    reasons += [
        f"{pulse.name} has not moved for {pulse.overdue_seconds():.0f} s"
        for pulse in context.thread_liveness()
        if pulse.is_overdue()
    ]
    return Readiness(ready=not reasons, reasons=reasons)
