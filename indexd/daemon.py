"""The daemon: starts every room, wires them together, drains and stops them. The only file that knows every room."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from indexd import model_roles
from indexd.api.context import DaemonContext
from indexd.api.http.server import ApiServer
from indexd.api.operations.local import LocalOperations
from indexd.characters.clustering_service import ClusteringService
from indexd.characters.face_assigner import FaceAssigner
from indexd.config import Config
from indexd.errors import IndexdError, SettingsError, StoreError
from indexd.images import perceptual_hash
from indexd.indexing.dispatcher import IndexDispatcher
from indexd.indexing.stages import LAYERS, THUMBNAIL, attribute_stages, enabled_stages, stage_inputs
from indexd.indexing.stages.index_stage import ThumbnailTarget
from indexd.indexing.stages.registry import find_stage
from indexd.ingest import IngestPipeline
from indexd.instance_lock import instance_lock
from indexd.jobs.notify import Notifier
from indexd.jobs.queue.runner import JobRunner
from indexd.jobs.service import JobService
from indexd.liveness import Liveness
from indexd.maintenance_scheduler import MaintenanceScheduler
from indexd.registry import IngestContext, load_handlers
from indexd.service.sd_notify import sd_notify
from indexd.service.status_line import StatusSummary
from indexd.store.records import IngestResult, RootRow
from indexd.store.sqlite.recovery.recover import RecoveryReport, recover_index
from indexd.store.sqlite.store import Store
from indexd.store.sqlite.vectors.code_tables import classify_fill_failure
from indexd.vector_index.vector_cache import VectorCache
from indexd.watch.root_context import RootContext
from indexd.watch.roots import ForeignRoot, RootStatus, WatchedFolder, WatchedRoot, WatchOptions, watched_folders
from indexd.watch.service import WatchService, scan_roots_once
from indexd.worker.workers import Workers

log = logging.getLogger(__name__)

# By then the queue and the layers have given back what they want to keep, and a worker owns nothing.
DRAIN_SECONDS = 3.0
RECOVERY_TIMEOUT_SECONDS = 900


def watched_roots(config: Config, store: Store) -> list[WatchedRoot]:
    """Every watched folder as the index knows it. Our own folders are made; the user's may be offline."""
    ours = {os.fsencode(own) for own in (config.paths.output, config.paths.inbox)}
    roots = []
    for folder in watched_folders(config):
        row = store.roots.ensure(folder.path, folder.purpose, folder.folder_tags)
        if folder.path in ours:
            _make_own_folder(Path(os.fsdecode(folder.path)), known=row.identity is not None)
        roots.append(_root_from_row(row, folder))
    passed = store.relocation.assign_to_innermost_roots(
        {root.id: root.path for root in roots if root.purpose == "images"}
    )
    if passed.files or passed.dropped:
        log.info("%d files belong to another watched folder now, the innermost that holds them", passed.files)
    return roots


def _root_from_row(row: RootRow, folder: WatchedFolder) -> WatchedRoot:
    stranger = None if row.foreign_root is None else ForeignRoot(*row.foreign_root)
    return WatchedRoot(row.id, row.path, row.purpose, folder.mode, folder.watch_filter, row.identity, stranger)


def _make_own_folder(folder: Path, *, known: bool) -> None:
    """Make a folder of ours. One that was there and lost its parent too lay on a disk that is not mounted: it is offline."""
    if known and not folder.parent.is_dir():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the folder {folder} cannot be made: {error.strerror or error}; correct [paths] in the settings"
        ) from None


def recover_damaged_index(config: Config) -> RecoveryReport | None:
    """See that the index can be opened: one that is damaged is set aside and made anew. None when all was well."""

    def on_step(text: str) -> bool:
        if text:
            log.warning("mending the index: %s", text)
            sd_notify(
                STATUS=f"mending the index: {text}", EXTEND_TIMEOUT_USEC=str(RECOVERY_TIMEOUT_SECONDS * 1_000_000)
            )
        return False

    stages = stage_inputs(enabled_stages(config.settings))
    return recover_index(config.paths.index, config.paths.backups, time.time(), stages, on_step=on_step)


class Daemon:
    """Everything that runs, from `start` to `stop`. The caller holds the instance lock."""

    def __init__(self, config: Config, on_failure: Callable[[], None] = lambda: None) -> None:
        """`on_failure` hears, from any thread, that a side task died; `failure` is then what it died of."""
        self.config = config
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        load_handlers()
        places = config.paths
        recovered = recover_damaged_index(config)
        self.store = Store.open(places.index)
        try:
            self.roots = watched_roots(config, self.store)
        except BaseException:
            self.store.close()
            raise
        self.store.set_damage_listener(self.fail)
        if recovered is not None:
            log.error("%s", recovered.summary())
            self.store.events.add("index damaged", recovered.summary())
        self.store.index_tasks.reset_running()
        self.store.perceptual_hashes.activate(perceptual_hash.HASH_VERSION, THUMBNAIL)
        self.store.faces.set_enabled(on=bool(config.settings.faces.detectors))
        for stage in attribute_stages():
            self.store.attributes.set_enabled(stage.name, on=stage.name in config.settings.stages)
        for name in config.settings.stages:
            if find_stage(name) is None:
                log.warning("the settings have [stages.%s], but no installed package registers such a stage", name)
        worker_settings = model_roles.worker_settings(config)
        self.workers = Workers(worker_settings, self._on_event)
        thumbnails = ThumbnailTarget(str(places.thumbnails), config.settings.thumbnails.size_px)
        self.embedding_dispatcher = IndexDispatcher(self.store, self.workers, worker_settings, thumbnails, self.fail)
        self.vector_cache = VectorCache(self.store.vectors, LAYERS, classify_fill_failure, self.fail)
        self.jobs = JobService(self.store, config)
        self.runner = JobRunner(self.store, self.workers, self.jobs, self.fail)
        self.notifier = Notifier(self.store.jobs, self.jobs, config.settings.notify)
        self.ingest = IngestPipeline(
            self.store, IngestContext(config.settings, self.jobs), self._on_recorded, self.fail
        )
        self.root_context = RootContext(
            indexed_files=self.store.files,
            deliver=self.ingest.deliver,
            on_event=self._on_event,
            options=WatchOptions.from_settings(config.settings.watch),
            on_state=self._on_root_state,
        )
        self.watch_service = WatchService(self.roots, self.root_context)
        wanted = config.settings.characters
        self.character_assigner = FaceAssigner(self.store, wanted.threshold, wanted.margin, self.fail)
        self.clusterer = ClusteringService(
            self.store, lambda: self.workers, self.character_assigner, places.cache, wanted.min_faces, self._on_event
        )
        live = DaemonContext(
            self.watch_service,
            self.workers,
            self.jobs,
            time.time(),
            self.ingest.drain,
            blocked_roles=self.embedding_dispatcher.blocked_roles,
            signal_new_work=self.embedding_dispatcher.signal_new_work,
            on_model_verified=self.embedding_dispatcher.mark_role_working,
            clusterer=self.clusterer,
            thread_liveness=self.thread_liveness,
        )
        self.server = ApiServer(config, LocalOperations(config, self.store, live), self.fail)
        self.maintenance = MaintenanceScheduler(self.store, config, self._on_event, self.fail, self.clusterer)

    def start(self) -> None:
        """Bring everything up; the local door opens last but for the first scan, which runs in the background."""
        self.vector_cache.start()
        self.character_assigner.start()
        self.ingest.start()
        self.embedding_dispatcher.start()
        self.notifier.start()
        self.runner.start()
        self.server.start()
        self.watch_service.start()
        self.maintenance.start()

    def stop(self) -> None:
        """Take nothing new, hand back what is in hand, close the index."""
        self.server.stop()
        self.watch_service.stop()
        self.maintenance.stop()
        self.clusterer.stop()
        self.runner.stop()
        self.notifier.stop()
        self.embedding_dispatcher.stop()
        self.workers.stop(DRAIN_SECONDS)
        self.ingest.stop()
        self.character_assigner.stop()
        self.vector_cache.stop()
        self.store.close()

    def fail(self, error: BaseException) -> None:
        """A side task died of a bug: the daemon goes down with it, loudly."""
        self.failure = self.failure or error
        self._on_failure()

    def thread_liveness(self) -> list[Liveness]:
        """Signs of life of everything that moves a queue.

        The threads of the watched folders are not among them: one share that hangs must not take the others down.
        """
        return [
            *self.ingest.thread_liveness,
            self.embedding_dispatcher.liveness,
            self.runner.liveness,
            self.server.liveness,
        ]

    def status_summary(self) -> StatusSummary:
        """How the queues stand now, for one line."""
        roots = self.watch_service.status()
        return StatusSummary(
            folders=len(roots),
            offline=sum(not root.online for root in roots),
            scanning=sum(root.scanning for root in roots),
            unread_files=self.ingest.pending_count() + sum(root.pending for root in roots),
            index_tasks=sum(
                states.get("waiting", 0) + states.get("running", 0)
                for states in self.store.index_tasks.counts().values()
            ),
            jobs=self.store.jobs.counts(),
            paused=self.store.jobs.pause_reason(),
        )

    def scan_in_caller_thread(self) -> None:
        """Compare every root with the index once, in this thread, without watching."""
        scan_roots_once(self.roots, self.root_context)

    def _on_recorded(self, recorded: list[IngestResult]) -> None:
        # A content that was known may have come back over an edited one, which is work as well.
        if any(record.outcome != "problem" for record in recorded):
            self.embedding_dispatcher.signal_new_work()

    def _on_event(self, kind: str, text: str, root_id: int | None = None) -> None:
        log.info("%s: %s", kind, text)
        # Told by threads that must live on (a lane's, a root's), so a full disk may cost the note and nothing else.
        try:
            self.store.events.add(kind, text, root_id)
        except StoreError as error:
            log.warning("that could not be noted in the index: %s", error)

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
            # What its pictures still needed has waited for them.
            self.embedding_dispatcher.signal_new_work()


def scan_once(config: Config, *, models: bool = True) -> None:
    """One full scan, then everything it leads to, without watching. `models` False leaves the embeddings waiting."""
    with instance_lock(config):
        daemon = Daemon(config)
        try:
            daemon.ingest.start()
            daemon.scan_in_caller_thread()
            daemon.ingest.drain()
            if models and daemon.failure is None:
                daemon.embedding_dispatcher.start()
                daemon.embedding_dispatcher.drain()
        finally:
            daemon.stop()
    if daemon.failure is not None:
        raise IndexdError(f"the scan broke off: {daemon.failure}") from daemon.failure
