"""The daemon: builds every service, connects them, starts and stops them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from indexd import model_roles
from indexd.api.context import DaemonContext
from indexd.api.event_buffer import EventBuffer
from indexd.api.http.server import ApiServer
from indexd.api.local import LocalOperations
from indexd.characters.clustering_service import ClusteringService
from indexd.characters.face_assigner import FaceAssigner
from indexd.config import Config
from indexd.errors import IndexdError, SettingsError, StoreError
from indexd.fs.private_files import make_private_folder
from indexd.images import perceptual_hash
from indexd.images.reader_client import ReaderClient, use_reader_processes
from indexd.indexing.dispatcher import IndexDispatcher
from indexd.indexing.stages import LAYERS, THUMBNAIL, attribute_stages, enabled_stages, stage_inputs
from indexd.indexing.stages.index_stage import ThumbnailTarget
from indexd.indexing.stages.registry import find_stage
from indexd.ingest import IngestPipeline
from indexd.instance_lock import InstanceLock, instance_lock
from indexd.jobs.notify import Notifier
from indexd.jobs.queue.runner import JobRunner
from indexd.jobs.service import JobService
from indexd.liveness import Liveness
from indexd.maintenance_scheduler import MaintenanceScheduler
from indexd.registry import IngestContext, load_handlers
from indexd.render_stages.stage import render_stages
from indexd.service.sd_notify import sd_notify
from indexd.service.status_line import StatusSummary
from indexd.state_file_monitor import StateFileMonitor
from indexd.store.protocols import IndexStore
from indexd.store.records import IngestResult, RootRow
from indexd.store.sqlite.recovery.recover import RecoveryReport, describe_missing_index, recover_index
from indexd.store.sqlite.recovery.rescue import place_rescued_index
from indexd.store.sqlite.store import SqliteStore
from indexd.store.sqlite.vectors.code_tables import classify_fill_failure
from indexd.vector_index.vector_cache import VectorCache
from indexd.watch.root_context import RootContext
from indexd.watch.roots import ForeignRoot, RootStatus, WatchedFolder, WatchedRoot, WatchOptions, watched_folders
from indexd.watch.service import WatchService, scan_roots_once
from indexd.worker.local_workers import LocalWorkers

log = logging.getLogger(__name__)

# The job queue and the dispatcher have stopped by then and need no result any more.
DRAIN_SECONDS = 3.0
RECOVERY_TIMEOUT_SECONDS = 900


class StartStop(Protocol):
    """A service of the daemon."""

    def start(self) -> object: ...

    def stop(self) -> object: ...


def watched_roots(config: Config, store: IndexStore) -> list[WatchedRoot]:
    """Every watched folder with its row in the index. Our own folders are made; the user's may be offline."""
    ours = {os.fsencode(own) for own in (config.paths.output, config.paths.inbox)}
    roots = []
    for folder in watched_folders(config):
        row = store.roots.ensure(folder.path, folder.purpose, folder.folder_tags)
        if folder.path in ours:
            _make_own_folder(Path(os.fsdecode(folder.path)), known=row.identity is not None)
        roots.append(_root_from_row(row, folder))
    moved = store.relocation.assign_to_innermost_roots(
        {root.id: root.path for root in roots if root.purpose == "images"}
    )
    if moved.files or moved.dropped:
        log.info("%d files were assigned to the innermost watched folder that holds them", moved.files)
    return roots


def _root_from_row(row: RootRow, folder: WatchedFolder) -> WatchedRoot:
    foreign_root = None if row.foreign_root is None else ForeignRoot(*row.foreign_root)
    return WatchedRoot(row.id, row.path, row.purpose, folder.mode, folder.watch_filter, row.identity, foreign_root)


def _make_own_folder(folder: Path, *, known: bool) -> None:
    """Make a folder of ours. A known one whose parent is missing too is on a disk that is not mounted: it is offline."""
    if known and not folder.parent.is_dir():
        return
    try:
        make_private_folder(folder)
    except OSError as error:
        raise SettingsError(
            f"the folder {folder} cannot be made: {error.strerror or error}; correct [paths] in the settings"
        ) from None


def recover_damaged_index(config: Config) -> RecoveryReport | None:
    """Set a damaged index aside and rebuild it; None when the index is sound."""

    def on_step(text: str) -> bool:
        if text:
            log.warning("repairing the index: %s", text)
            sd_notify(
                STATUS=f"repairing the index: {text}", EXTEND_TIMEOUT_USEC=str(RECOVERY_TIMEOUT_SECONDS * 1_000_000)
            )
        return False

    stages = stage_inputs(enabled_stages(config.settings))
    return recover_index(config.paths.index, config.paths.backups, time.time(), stages, on_step=on_step)


class Daemon:
    """Everything that runs, from `start` to `stop`. The caller holds the instance lock."""

    store: IndexStore
    roots: list[WatchedRoot]
    workers: LocalWorkers
    embedding_dispatcher: IndexDispatcher
    jobs: JobService
    reader: ReaderClient
    ingest: IngestPipeline
    root_context: RootContext
    vector_cache: VectorCache
    runner: JobRunner
    notifier: Notifier
    watch_service: WatchService
    character_assigner: FaceAssigner
    clusterer: ClusteringService
    server: ApiServer
    maintenance: MaintenanceScheduler
    state_files: StateFileMonitor

    def __init__(
        self, config: Config, on_change: Callable[[], None] = lambda: None, lock: InstanceLock | None = None
    ) -> None:
        """`on_change` is called, from any thread, when a thread failed (`failure`) or a restart is due (`must_restart`).

        With `lock`, its file is restored when it is deleted.
        """
        self.config = config
        self.failure: BaseException | None = None
        self.must_restart = False
        self._on_change = on_change
        self._lock = lock
        self._started = ExitStack()

    def open(self) -> None:
        """Open the index (a damaged one is recovered first) and build what fills it; no thread is started yet.

        Raises IndexdError.
        """
        config, paths = self.config, self.config.paths
        # All modules are loaded now: later there may be no file handle left, or another version on the disk.
        load_handlers()
        render_stages()
        missing = describe_missing_index(paths.index, paths.backups)
        recovered = recover_damaged_index(config)
        self.store = SqliteStore.open(paths.index)
        self._started.callback(self._close_store)
        self.store.guard_files()
        self.roots = watched_roots(config, self.store)
        self.store.set_damage_listener(self.fail)
        if missing is not None:
            log.error("%s", missing)
            self.store.events.add("index missing", missing)
        if recovered is not None:
            log.error("%s", recovered.summary())
            self.store.events.add("index damaged", recovered.summary())
        self.store.index_tasks.reset_running()
        self.store.perceptual_hashes.activate(perceptual_hash.HASH_VERSION, THUMBNAIL)
        self.store.annotations.set_suggestion_mode(config.settings.watch.photo_annotations)
        self.store.faces.set_enabled(on=bool(config.settings.faces.detectors))
        for stage in attribute_stages():
            self.store.attributes.set_enabled(stage.name, on=stage.name in config.settings.stages)
        for name in config.settings.stages:
            if find_stage(name) is None:
                log.warning("the settings have [stages.%s], but no installed package registers such a stage", name)
        worker_settings = model_roles.worker_settings(config)
        self.workers = LocalWorkers(worker_settings, self._on_event)
        thumbnails = ThumbnailTarget(str(paths.thumbnails), config.settings.thumbnails.size_px)
        self.embedding_dispatcher = IndexDispatcher(self.store, self.workers, worker_settings, thumbnails, self.fail)
        self.jobs = JobService(self.store, config)
        self.reader = ReaderClient(self.workers, config.settings.watch.max_image_mib << 20)
        self._started.callback(use_reader_processes(self.reader))
        self.ingest = IngestPipeline(
            self.store,
            IngestContext(config.settings, self.jobs, self.reader.read_batch),
            self._on_recorded,
            self.fail,
        )
        self.root_context = RootContext(
            indexed_files=self.store.files,
            deliver=self.ingest.deliver,
            on_event=self._on_event,
            options=WatchOptions.from_settings(config.settings.watch),
            on_state=self._on_root_state,
        )

    def start(self) -> None:
        """Open the index and start everything. The HTTP API answers when this returns; the first scan goes on.

        Raises IndexdError or OSError; `stop` is due then as well.
        """
        self.open()
        config, store = self.config, self.store
        characters = config.settings.characters
        self.vector_cache = VectorCache(store.vectors, LAYERS, classify_fill_failure, self.fail)
        self.character_assigner = FaceAssigner(store, characters.threshold, characters.margin, self.fail)
        self.notifier = Notifier(store.jobs, self.jobs, config.settings.notify)
        self.runner = JobRunner(store, self.workers, self.jobs, self.fail)
        self.watch_service = WatchService(self.roots, self.root_context)
        self.clusterer = ClusteringService(
            store,
            lambda: self.workers,
            self.character_assigner,
            config.paths.cache,
            characters.min_faces,
            self._on_event,
        )
        operations = LocalOperations(config, store, self._context())
        operations.preload()
        self.server = ApiServer(config, operations, self.fail)
        self.maintenance = MaintenanceScheduler(store, config, self._on_event, self.fail, self.clusterer)
        self.state_files = StateFileMonitor(store, self.server, self._lock, self._on_event, self.restart, self.fail)
        # Stopped in the reverse order.
        self._start(self.vector_cache)
        self._start(self.character_assigner)
        # The reader processes outlive the threads that wait for them.
        self._started.callback(lambda: self.workers.stop(DRAIN_SECONDS))
        self.reader.start_processes()
        self._start(self.ingest)
        self._start(self.embedding_dispatcher)
        self._start(self.notifier)
        self._start(self.runner)
        self._started.callback(self.clusterer.stop)
        self._start(self.maintenance)
        self._start(self.watch_service)
        self._start(self.server)
        self._start(self.state_files)

    def stop(self) -> None:
        """Stop what was started in the reverse order: no new work, unfinished work handed back, the index closed."""
        self._started.close()

    def restart(self) -> None:
        """Have the process stop this daemon and start a new one."""
        self.must_restart = True
        self._on_change()

    def fail(self, error: BaseException) -> None:
        """Report the bug that ended a thread: the daemon stops because of it."""
        self.failure = self.failure or error
        self._on_change()

    def thread_liveness(self) -> list[Liveness]:
        """The liveness of every thread that moves a queue.

        The threads of the watched folders are left out: one share that hangs must not restart the daemon.
        """
        return [
            *self.ingest.thread_liveness,
            self.embedding_dispatcher.liveness,
            self.runner.liveness,
            self.server.liveness,
        ]

    def status_summary(self) -> StatusSummary:
        """The lengths of all queues, for the status line."""
        roots = self.watch_service.status()
        return StatusSummary(
            folders=len(roots),
            offline=sum(not root.online for root in roots),
            scanning=sum(root.scanning for root in roots),
            unread_files=self.ingest.pending_count() + sum(root.pending for root in roots),
            index_tasks=sum(
                states.get("pending", 0) + states.get("running", 0)
                for states in self.store.index_tasks.counts().values()
            ),
            jobs=self.store.jobs.counts(),
            paused=self.store.jobs.pause_reason(),
        )

    def scan_once(self, *, models: bool) -> None:
        """Scan every root in the caller's thread and do what follows from it, without watching."""
        self.open()
        self._started.callback(lambda: self.workers.stop(DRAIN_SECONDS))
        self._start(self.ingest)
        scan_roots_once(self.roots, self.root_context)
        self.ingest.drain()
        if models and self.failure is None:
            self._start(self.embedding_dispatcher)
            self.embedding_dispatcher.drain()

    def _start(self, service: StartStop) -> None:
        # Registered first, so that a start that fails half-way is undone: every stop is harmless.
        self._started.callback(service.stop)
        service.start()

    def _close_store(self) -> None:
        self.store.close()
        if self.must_restart:
            replaced = place_rescued_index(self.config.paths.index, time.time())
            if replaced is not None:
                log.error("the file that had replaced the index is now %s", replaced)

    def _context(self) -> DaemonContext:
        return DaemonContext(
            self.watch_service,
            self.workers,
            self.jobs,
            time.time(),
            self.ingest.drain,
            blocked_roles=self.embedding_dispatcher.blocked_roles,
            signal_new_work=self.embedding_dispatcher.wake,
            on_model_verified=self.embedding_dispatcher.mark_role_working,
            clusterer=self.clusterer,
            thread_liveness=self.thread_liveness,
            events=EventBuffer(self.store.watch_changes),
        )

    def _on_recorded(self, recorded: list[IngestResult]) -> None:
        # A known content may have replaced an edited one, which leaves index tasks as well.
        if any(record.outcome != "problem" for record in recorded):
            self.embedding_dispatcher.wake()

    def _on_event(self, kind: str, text: str, root_id: int | None = None) -> None:
        log.info("%s: %s", kind, text)
        # Called by threads that must survive (a lane's, a root's), so a full disk costs only the event.
        try:
            self.store.events.add(kind, text, root_id)
        except StoreError as error:
            log.warning("the event could not be stored: %s", error)

    def _on_root_state(self, state: RootStatus) -> None:
        self.store.roots.set_state(
            state.root_id,
            online=state.online,
            identity=state.identity,
            mode=state.mode,
            reason=state.reason,
            foreign_root=state.foreign_root,
        )
        if state.online:
            # Index tasks of its images waited for the files.
            self.embedding_dispatcher.wake()


def scan_once(config: Config, *, models: bool = True) -> None:
    """One full scan and what follows from it, without watching. Without `models`, embeddings stay pending.

    Raises IndexdError.
    """
    with instance_lock(config):
        daemon = Daemon(config)
        try:
            daemon.scan_once(models=models)
        finally:
            daemon.stop()
    if daemon.failure is not None:
        raise IndexdError(f"the scan failed: {daemon.failure}") from daemon.failure
