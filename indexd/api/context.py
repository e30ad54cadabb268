"""What operations work with: the settings, the index, and the services of the daemon where they run inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from indexd.errors import DaemonNotRunning

if TYPE_CHECKING:
    from indexd.api.event_buffer import EventBuffer
    from indexd.characters.clustering_service import ClusteringService
    from indexd.config import Config
    from indexd.liveness import Liveness
    from indexd.search.search import Search
    from indexd.store.protocols import IndexStore
    from indexd.store.records import JobRow
    from indexd.watch.service import RootStatus
    from indexd.worker.call_handle import WorkerBackend
    from indexd.worker.calls import CallProgress
    from indexd.worker.local_workers import LocalWorkers

# Nothing durable lives in a worker, so a command that has its answer need not wait for the process to leave politely.
OWN_WORKERS_STOP_SECONDS = 2.0


class WatchControl(Protocol):
    """The watch service."""

    def status(self) -> Sequence[RootStatus]:
        """The state of each root."""
        ...

    def scan(self, root_id: int | None = None, wait: bool = True) -> object:
        """Compare one root, or all, with the index."""
        ...


class JobControl(Protocol):
    """The job service."""

    @property
    def progress(self) -> Mapping[int, CallProgress]:
        """The progress of the items whose calls run now, by the id of the item."""
        ...

    def submit(self, source: bytes, name: str) -> JobRow:
        """Admit a job. Raises JobRefused."""
        ...

    def cancel(self, job_id: int) -> object:
        """Stop a job."""
        ...

    def retry(self, job_id: int) -> object:
        """Queue the failed and cancelled items again."""
        ...


@dataclass(frozen=True, slots=True)
class DaemonContext:
    """The services of a running daemon.

    `started_at` is in seconds since the epoch. `drain` waits until everything that was delivered is recorded;
    `signal_new_work` wakes the index dispatcher; `on_model_verified` reports a role whose model was run successfully.
    `blocked_roles` maps each role whose model failed when last tried to the reason. `thread_liveness` lists the
    liveness of the threads that move the queues.
    """

    watch: WatchControl
    workers: WorkerBackend
    jobs: JobControl
    started_at: float
    drain: Callable[[], None] = lambda: None
    blocked_roles: Callable[[], Mapping[str, str]] = dict
    signal_new_work: Callable[[], None] = lambda: None
    on_model_verified: Callable[[str], None] = lambda _role: None
    clusterer: ClusteringService | None = None
    thread_liveness: Callable[[], Sequence[Liveness]] = tuple
    events: EventBuffer | None = None


class OperationContext:
    """What one operation may use. Without a daemon, models run in workers that this context starts and stops."""

    def __init__(self, config: Config, store: IndexStore, daemon: DaemonContext | None = None) -> None:
        self.config = config
        self.store = store
        self.daemon = daemon
        self._own_workers: LocalWorkers | None = None
        self._own_clusterer: ClusteringService | None = None

    def require_daemon(self, command: str) -> DaemonContext:
        """The daemon. Raises DaemonNotRunning, which names the command that needs it."""
        if self.daemon is None:
            raise DaemonNotRunning(f"{command} needs the daemon, and it is not running; start it with `indexd run`")
        return self.daemon

    def workers(self) -> WorkerBackend:
        """The daemon's workers, else our own."""
        if self.daemon is not None:
            return self.daemon.workers
        if self._own_workers is None:
            from indexd import model_roles
            from indexd.worker.local_workers import LocalWorkers

            self._own_workers = LocalWorkers(model_roles.worker_settings(self.config))
        return self._own_workers

    @cached_property
    def search(self) -> Search:
        """The search over the index; it keeps samples of each layer for its scores."""
        from indexd import model_roles
        from indexd.search.query.query_embedder import WorkerQueryEmbedder
        from indexd.search.search import Search

        embedder = WorkerQueryEmbedder(self.workers, lambda role: model_roles.require_role(self.config, role))
        return Search(self.store, embedder)

    def clusterer(self) -> ClusteringService:
        """The daemon's clustering service, else our own over our own workers."""
        if self.daemon is not None and self.daemon.clusterer is not None:
            return self.daemon.clusterer
        if self._own_clusterer is None:
            from indexd.characters.clustering_service import ClusteringService
            from indexd.characters.face_assigner import FaceAssigner

            options = self.config.settings.characters
            assigner = FaceAssigner(self.store, options.threshold, options.margin)
            self._own_clusterer = ClusteringService(
                self.store, self.workers, assigner, self.config.paths.cache, options.min_faces
            )
        return self._own_clusterer

    def close(self) -> None:
        """Stop our own clustering and workers; those of the daemon go on."""
        if self._own_clusterer is not None:
            self._own_clusterer.stop()
        if self._own_workers is not None:
            self._own_workers.stop(OWN_WORKERS_STOP_SECONDS)
            self._own_workers = None
