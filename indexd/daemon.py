"""The daemon: starts every room, wires them together, drains and stops them. The only file that knows every room."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from indexd import roles
from indexd.api.live import LiveParts
from indexd.api.local import LocalOperations
from indexd.api.server import Server
from indexd.characters.clusterer import Clusterer
from indexd.characters.keeper import Keeper
from indexd.config import Config
from indexd.errors import IndexdError, SettingsError, StoreError
from indexd.images import picture_hash
from indexd.instance import instance_lock
from indexd.intake import Intake
from indexd.jobs.announce import Announcer
from indexd.jobs.facade import Jobs
from indexd.jobs.runner import JobRunner
from indexd.layers.batch import Thumbnails
from indexd.layers.description import LAYERS, THUMBNAIL
from indexd.layers.dispatch import LayerDispatcher
from indexd.pulse import Pulse
from indexd.registry import IntakeContext, load_handlers
from indexd.search.vector_cache import VectorCache
from indexd.service.notify import notify
from indexd.service.sentence import Standing
from indexd.store.index import Store
from indexd.store.records import Of, Recorded, RootRow
from indexd.store.recover import Recovered, recover
from indexd.store.revisions import FACE
from indexd.upkeep import Upkeep
from indexd.watch.folders import WatchedFolder, watched_folders
from indexd.watch.roots import RootStatus, Stranger, WatchedRoot, WatchOptions
from indexd.watch.service import WatchService
from indexd.watch.service import scan_once as scan_roots
from indexd.worker.workers import Workers

log = logging.getLogger(__name__)

# By then the queue and the layers have given back what they want to keep, and a worker owns nothing.
DRAIN_SECONDS = 3.0
RECOVERY_SECONDS = 900


def watched_roots(config: Config, store: Store) -> list[WatchedRoot]:
    """Every watched folder as the index knows it. Our own folders are made; the user's may be offline."""
    ours = {os.fsencode(own) for own in (config.places.output, config.places.inbox)}
    roots = []
    for folder in watched_folders(config):
        row = store.roots.ensure(folder.path, folder.purpose, folder.folder_tags)
        if folder.path in ours:
            _make(Path(os.fsdecode(folder.path)), known=row.identity is not None)
        roots.append(_watched(row, folder))
    passed = store.relocation.to_innermost({root.id: root.path for root in roots if root.purpose == "images"})
    if passed.files or passed.dropped:
        log.info("%d files belong to another watched folder now, the innermost that holds them", passed.files)
    return roots


def _watched(row: RootRow, folder: WatchedFolder) -> WatchedRoot:
    stranger = None if row.stranger is None else Stranger(*row.stranger)
    return WatchedRoot(row.id, row.path, row.purpose, folder.mode, folder.selection, row.identity, stranger)


def _make(folder: Path, *, known: bool) -> None:
    """Make a folder of ours. One that was there and lost its parent too lay on a disk that is not mounted: it is offline."""
    if known and not folder.parent.is_dir():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the folder {folder} cannot be made: {error.strerror or error}; correct [paths] in the settings"
        ) from None


def recovered_index(config: Config) -> Recovered | None:
    """See that the index can be opened: one that is damaged is set aside and made anew. None when all was well."""

    def on_step(text: str) -> bool:
        if text:
            log.warning("mending the index: %s", text)
            notify(STATUS=f"mending the index: {text}", EXTEND_TIMEOUT_USEC=str(RECOVERY_SECONDS * 1_000_000))
        return False

    stages: dict[str, Of] = {THUMBNAIL: "image", **{name: layer.of for name, layer in LAYERS.items()}}
    if not config.settings.faces.detectors:
        del stages[FACE]
    return recover(config.places.index, config.places.backups, time.time(), stages, on_step=on_step)


class Daemon:
    """Everything that runs, from `start` to `stop`. The caller holds the instance lock."""

    def __init__(self, config: Config, on_failure: Callable[[], None] = lambda: None) -> None:
        """`on_failure` hears, from any thread, that a side task died; `failure` is then what it died of."""
        self.config = config
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        load_handlers()
        places = config.places
        recovered = recovered_index(config)
        self.store = Store.open(places.index)
        try:
            self.roots = watched_roots(config, self.store)
        except BaseException:
            self.store.close()
            raise
        self.store.watch_for_damage(self.fail)
        if recovered is not None:
            log.error("%s", recovered.sentence())
            self.store.events.add("index damaged", recovered.sentence())
        self.store.work.reset_running()
        self.store.picture_hashes.activate(picture_hash.VERSION, THUMBNAIL)
        self.store.faces.switch(on=bool(config.settings.faces.detectors))
        worker_settings = roles.worker_settings(config)
        self.workers = Workers(worker_settings, self._on_event)
        thumbnails = Thumbnails(str(places.thumbnails), config.settings.thumbnails.size_px)
        self.layers = LayerDispatcher(self.store, self.workers, worker_settings, thumbnails, self.fail)
        self.vector_cache = VectorCache(self.store.vectors, LAYERS, self.fail)
        self.jobs = Jobs(self.store, config)
        self.runner = JobRunner(self.store, self.workers, self.jobs, self.fail)
        self.announcer = Announcer(self.store.jobs, self.jobs, config.settings.notify)
        self.intake = Intake(self.store, IntakeContext(config.settings, self.jobs), self._on_recorded, self.fail)
        self.watch_options = WatchOptions.of(config.settings.watch)
        self.watch = WatchService(
            self.roots,
            self.store.files,
            self.intake.deliver,
            self._on_event,
            options=self.watch_options,
            on_state=self._on_root_state,
        )
        wanted = config.settings.characters
        self.keeper = Keeper(self.store, wanted.threshold, wanted.margin, self.fail)
        self.clusterer = Clusterer(
            self.store, lambda: self.workers, self.keeper, places.cache, wanted.min_faces, self._on_event
        )
        live = LiveParts(
            self.watch,
            self.workers,
            self.jobs,
            time.time(),
            self.intake.drain,
            waits_for=self.layers.waits_for,
            announce=self.layers.announce,
            works=self.layers.works,
            clusterer=self.clusterer,
            pulses=self.pulses,
        )
        self.server = Server(config, LocalOperations(config, self.store, live), self.fail)
        self.upkeep = Upkeep(self.store, config, self._on_event, self.fail, self.clusterer)

    def start(self) -> None:
        """Bring everything up; the local door opens last but for the first scan, which runs in the background."""
        self.vector_cache.start()
        self.keeper.start()
        self.intake.start()
        self.layers.start()
        self.announcer.start()
        self.runner.start()
        self.server.start()
        self.watch.start()
        self.upkeep.start()

    def stop(self) -> None:
        """Take nothing new, hand back what is in hand, close the index."""
        self.server.stop()
        self.watch.stop()
        self.upkeep.stop()
        self.clusterer.stop()
        self.runner.stop()
        self.announcer.stop()
        self.layers.stop()
        self.workers.stop(DRAIN_SECONDS)
        self.intake.stop()
        self.keeper.stop()
        self.vector_cache.stop()
        self.store.close()

    def fail(self, error: BaseException) -> None:
        """A side task died of a bug: the daemon goes down with it, loudly."""
        self.failure = self.failure or error
        self._on_failure()

    def pulses(self) -> list[Pulse]:
        """Signs of life of everything that moves a queue.

        The threads of the watched folders are not among them: one share that hangs must not take the others down.
        """
        return [*self.intake.pulses, self.layers.pulse, self.runner.pulse, self.server.pulse]

    def standing(self) -> Standing:
        """How the queues stand now, for one line."""
        roots = self.watch.status()
        return Standing(
            folders=len(roots),
            offline=sum(not root.online for root in roots),
            scanning=sum(root.scanning for root in roots),
            files=self.intake.waiting() + sum(root.pending for root in roots),
            work=sum(
                states.get("waiting", 0) + states.get("running", 0) for states in self.store.work.counts().values()
            ),
            jobs=self.store.jobs.counts(),
            paused=self.store.jobs.paused(),
        )

    def scan_here(self) -> None:
        """Compare every root with the index once, in this thread, without watching."""
        deliver, files = self.intake.deliver, self.store.files
        scan_roots(self.roots, files, deliver, self._on_event, self.watch_options, on_state=self._on_root_state)

    def _on_recorded(self, recorded: list[Recorded]) -> None:
        # A content that was known may have come back over an edited one, which is work as well.
        if any(record.outcome != "problem" for record in recorded):
            self.layers.announce()

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
            stranger=state.stranger,
        )
        if state.online:
            # What its pictures still needed has waited for them.
            self.layers.announce()


def scan_once(config: Config, *, models: bool = True) -> None:
    """One full scan, then everything it leads to, without watching. `models` False leaves the embeddings waiting."""
    with instance_lock(config):
        daemon = Daemon(config)
        try:
            daemon.intake.start()
            daemon.scan_here()
            daemon.intake.drain()
            if models and daemon.failure is None:
                daemon.layers.start()
                daemon.layers.drain()
        finally:
            daemon.stop()
    if daemon.failure is not None:
        raise IndexdError(f"the scan broke off: {daemon.failure}") from daemon.failure
