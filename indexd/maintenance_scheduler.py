"""Periodic maintenance: nightly backups and clustering, requantizing of codes, memory returned to the system."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections.abc import Callable

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from indexd import malloc
from indexd.characters.clustering_service import ClusteringService
from indexd.config import Config
from indexd.errors import IndexDamaged, StoreError
from indexd.indexing.stages import LAYERS
from indexd.store.protocols import IndexStore
from indexd.store.sqlite.recovery.backup import nightly_backup
from indexd.store.sqlite.recovery.backup_retention import is_backup_overdue
from indexd_schemas.durations import parse_time_of_day

log = logging.getLogger(__name__)

REQUANTIZE_MINUTES = 10
TRIM_MINUTES = 1
# A machine that sleeps at night makes up for its backup: not during the load of a start, but soon after it.
OVERDUE_BACKUP_DELAY_MINUTES = 10
BACKUP_OVERDUE_SECONDS = 26 * 3600.0


class MaintenanceScheduler:
    """Runs from `start` to `stop` in threads of its own. `on_damage` is called when a backup cannot read the index."""

    def __init__(
        self,
        store: IndexStore,
        config: Config,
        on_event: Callable[[str, str], None],
        on_damage: Callable[[BaseException], None],
        clusterer: ClusteringService,
    ) -> None:
        self._store = store
        self._config = config
        self._on_event = on_event
        self._on_damage = on_damage
        self._clusterer = clusterer
        self._stopping = threading.Event()
        self._backing_up = threading.Lock()
        self._scheduler = BackgroundScheduler(timezone="UTC")

    def start(self) -> None:
        """Schedule everything and start."""
        # After a suspend the tasks run late, without a warning.
        late = {"coalesce": True, "misfire_grace_time": None}
        self._scheduler.add_job(self._requantize, "interval", minutes=REQUANTIZE_MINUTES, **late)
        self._scheduler.add_job(self._trim_memory, "interval", minutes=TRIM_MINUTES, **late)
        self._schedule_backups()
        self._schedule_clustering()
        self._scheduler.start()

    def stop(self) -> None:
        """Abort a running backup and stop. Harmless when it never started."""
        self._stopping.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def _trim_memory(self) -> None:
        self._store.release_memory()
        malloc.trim_heap()

    def _requantize(self) -> None:
        for layer in LAYERS:
            self._store.vectors.requantize_layer(layer)

    def _schedule_backups(self) -> None:
        at = parse_time_of_day(self._config.settings.backup.at)
        if at is None:
            return
        # No limit on lateness: a machine that was suspended at that hour runs it when it resumes.
        plan = {"id": "backup", "coalesce": True, "misfire_grace_time": None}
        self._scheduler.add_job(self._back_up, CronTrigger(hour=at[0], minute=at[1]), **plan)
        if is_backup_overdue(self._config.paths.backups, time.time(), BACKUP_OVERDUE_SECONDS):
            soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=OVERDUE_BACKUP_DELAY_MINUTES)
            self._scheduler.add_job(self._back_up, "date", run_date=soon, misfire_grace_time=None)

    def _schedule_clustering(self) -> None:
        at = parse_time_of_day(self._config.settings.characters.cluster_at)
        if at is not None:
            plan = {"id": "clustering", "coalesce": True, "misfire_grace_time": None}
            self._scheduler.add_job(self._cluster, CronTrigger(hour=at[0], minute=at[1]), **plan)

    def _cluster(self) -> None:
        # Without new faces and corrections a clustering would give the same result.
        if self._clusterer.is_due():
            self._clusterer.start()

    def _back_up(self) -> None:
        if not self._backing_up.acquire(blocking=False):
            return
        try:
            keep = self._config.settings.backup
            text = nightly_backup(
                self._store.path,
                self._config.paths.backups,
                keep.keep_daily,
                keep.keep_weekly,
                time.time(),
                on_step=lambda _: self._stopping.is_set(),
            )
        except IndexDamaged as error:
            self._on_damage(error)
        except (StoreError, OSError) as error:
            if not self._stopping.is_set():
                log.error("no backup was made: %s", error)
                self._on_event("backup failed", str(error))
        else:
            self._on_event("backup", text)
        finally:
            self._backing_up.release()
