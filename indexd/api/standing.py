"""How everything stands: the numbers of the index, and of the daemon's live parts where there are any."""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from pathlib import Path

from indexd.api.live import LiveParts
from indexd.config import Config
from indexd.roles import role_states
from indexd.store.index import Store
from indexd.watch.paths import display
from indexd_schemas.output import Event, RoleState, RootState, Status, WorkerState
from indexd_schemas.replies import Scanned

RECENT_EVENTS = 20


def status(store: Store, config: Config, live: LiveParts | None) -> Status:
    """What `indexd status` shows."""
    present, missing = store.files.counts()
    return Status(
        running=live is not None,
        version=version("indexd"),
        pid=os.getpid() if live else None,
        uptime_seconds=max(0.0, time.time() - live.started_at) if live else None,
        home=str(config.places.home),
        index=str(config.places.index),
        index_bytes=_index_bytes(config.places.index),
        images=store.images.count(),
        files=present,
        missing_files=missing,
        roots=root_states(store, live),
        pending=store.work.counts(),
        jobs=store.jobs.counts(),
        queue_paused=store.jobs.paused(),
        workers=worker_states(live),
        roles=roles_now(config, live),
        events=[Event(at=row.at, kind=row.kind, text=row.text) for row in store.events.recent(RECENT_EVENTS)],
    )


def scanned(store: Store, live: LiveParts, *, waited: bool, seconds: float) -> Scanned:
    """What `indexd scan` shows."""
    present, missing = store.files.counts()
    return Scanned(
        waited=waited,
        seconds=round(seconds, 3),
        images=store.images.count(),
        files=present,
        missing_files=missing,
        roots=root_states(store, live),
    )


def root_states(store: Store, live: LiveParts | None) -> list[RootState]:
    """Every watched folder: as the watchers see it now, else as the daemon last left it."""
    if live is None:
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
        for row in live.watch.status()
    ]


def worker_states(live: LiveParts | None) -> list[WorkerState]:
    """Every lane of the workers that was used."""
    if live is None:
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
        for lane in live.workers.status()
    ]


def roles_now(config: Config, live: LiveParts | None) -> list[RoleState]:
    """Every role, as the settings have it and as the daemon found it: a model that cannot be loaded is off as well."""
    waits = live.waits_for() if live is not None else {}
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
