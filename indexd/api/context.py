"""What a running daemon lends to its operations: its watchers, its workers and its jobs. Without a daemon: nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from indexd.characters.clustering_service import ClusteringService
from indexd.liveness import Liveness
from indexd.store.records import JobRow
from indexd.watch.service import RootStatus
from indexd.worker.call_handle import WorkerBackend


class WatchControl(Protocol):
    """The watch service."""

    def status(self) -> Sequence[RootStatus]:
        """How each root stands."""
        ...

    def scan(self, root_id: int | None = None, wait: bool = True) -> object:
        """Compare one root, or all, with the index."""
        ...


class JobControl(Protocol):
    """The jobs facade."""

    def submit(self, source: bytes, name: str) -> JobRow:
        """Admit a job. Raises Refused."""
        ...

    def cancel(self, job_id: int) -> object:
        """Stop a job."""
        ...

    def retry(self, job_id: int) -> object:
        """Queue what failed again."""
        ...


@dataclass(frozen=True, slots=True)
class DaemonContext:
    """`drain` waits until everything that was delivered is recorded; `announce` says that there is new work for models;
    `started_at` is seconds since the epoch.

    `works` hears of a role whose model was tried and works; `waits_for` gives the roles whose work waits although their
    model is there, with the reason: it failed when last tried. `pulses` are the signs of life of what moves the queues.
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
