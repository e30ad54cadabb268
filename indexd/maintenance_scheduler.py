"""Everything that is done by the clock: nightly backups and clustering, requantizing of codes, memory returned to the system.

Checks that wait for an event or must end the daemon when they fail are BackgroundServices: APScheduler only logs an error.
"""

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
from indexd.jobs.files.unread_files import find_unread_job_files
from indexd.store.protocols import IndexStore
from indexd.store.sqlite.recovery.backup import nightly_backup
from indexd.store.sqlite.recovery.backup_retention import is_backup_overdue
from indexd_schemas.durations import parse_time_of_day

log = logging.getLogger(__name__)

REQUANTIZE_MINUTES = 10
TRIM_MINUTES = 1
INBOX_MINUTES = 1
# A machine that sleeps at night makes up for its backup: not during the load of a start, but soon after it.
OVERDUE_BACKUP_DELAY = datetime.timedelta(minutes=10)
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
        self._reported_job_files: set[str] = set()
        # However late, a task runs once: a machine that was suspended at its hour runs it when it resumes.
        late = {"coalesce": True, "misfire_grace_time": None}
        self._scheduler = BackgroundScheduler(timezone="UTC", job_defaults=late)

    def start(self) -> None:
        """Schedule everything and start."""
        self._scheduler.add_job(self._requantize, "interval", minutes=REQUANTIZE_MINUTES, id="requantize")
        self._scheduler.add_job(self._trim_memory, "interval", minutes=TRIM_MINUTES, id="trim memory")
        now = datetime.datetime.now(datetime.UTC)
        self._scheduler.add_job(
            self.report_unread_job_files, "interval", minutes=INBOX_MINUTES, id="inbox", next_run_time=now
        )
        settings = self._config.settings
        self._schedule_daily("backup", self._back_up, settings.backup.at)
        self._schedule_daily("clustering", self._cluster, settings.characters.cluster_at)
        backup = self._scheduler.get_job("backup")
        if backup and is_backup_overdue(self._config.paths.backups, time.time(), BACKUP_OVERDUE_SECONDS):
            backup.modify(next_run_time=datetime.datetime.now(datetime.UTC) + OVERDUE_BACKUP_DELAY)
        self._scheduler.start()

    def stop(self) -> None:
        """Abort a running backup and stop. Harmless when it never started."""
        self._stopping.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def _trim_memory(self) -> None:
        self._store.release_memory()
        malloc.trim_heap()

    def report_unread_job_files(self) -> None:
        """Log, and record as an event, what lies in the inbox and is never read; each text once while it stays."""
        try:
            found = {one.sentence for one in find_unread_job_files(self._config.paths.inbox)}
        except OSError:
            return  # the watch service reports an inbox that cannot be listed
        for text in sorted(found - self._reported_job_files):
            log.warning("%s", text)
            self._on_event("job files not read", text)
        self._reported_job_files = found

    def _requantize(self) -> None:
        for layer in LAYERS:
            self._store.vectors.requantize_layer(layer)

    def _schedule_daily(self, name: str, run: Callable[[], None], time_of_day: str) -> None:
        if (at := parse_time_of_day(time_of_day)) is not None:
            self._scheduler.add_job(run, CronTrigger(hour=at[0], minute=at[1]), id=name)

    def _cluster(self) -> None:
        # Without new faces and corrections a clustering would give the same result.
        if self._clusterer.is_due():
            self._clusterer.begin()

    def _back_up(self) -> None:
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
