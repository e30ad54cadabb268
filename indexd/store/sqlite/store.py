"""The SQLite back end of the store: one object, with one repository for each family of tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType

from indexd.errors import IndexDamaged
from indexd.store.records import FacesChanged, StoreChanges
from indexd.store.sqlite.admin import Events, KeyValueTable, MetricsReader
from indexd.store.sqlite.annotations.annotations import Annotations
from indexd.store.sqlite.annotations.exchange import AnnotationExchange
from indexd.store.sqlite.database import Database
from indexd.store.sqlite.faces.characters import CharacterTables
from indexd.store.sqlite.faces.corrections import Corrections
from indexd.store.sqlite.faces.faces import FaceTables
from indexd.store.sqlite.filters.filters import Filters
from indexd.store.sqlite.library.attributes import Attributes
from indexd.store.sqlite.library.files import Files
from indexd.store.sqlite.library.forget import Forgetter
from indexd.store.sqlite.library.fulltext import Fulltext
from indexd.store.sqlite.library.image_statistics import ImageStatistics
from indexd.store.sqlite.library.images import Images
from indexd.store.sqlite.library.perceptual_hashes import PerceptualHashes
from indexd.store.sqlite.library.relocate import Relocation
from indexd.store.sqlite.library.replaced_files import Replacements
from indexd.store.sqlite.library.roots import Roots
from indexd.store.sqlite.migrate import open_database
from indexd.store.sqlite.queue.index_tasks import IndexTasks
from indexd.store.sqlite.queue.job_ledger import JobLedger
from indexd.store.sqlite.recovery.rescue import rescue_index
from indexd.store.sqlite.vectors.rows import BulkReader
from indexd.store.sqlite.vectors.vectors import Vectors


class SqliteStore:
    """An open index. Every method of every repository may be called from any thread and is one transaction.

    Errors are StoreError. After StorageFull nothing of that transaction was kept, and the store works again when there is
    room.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self.key_values = KeyValueTable(database)
        self.roots = Roots(database)
        self.files = Files(database)
        self.images = Images(database)
        self.attributes = Attributes(database)
        self.annotations = Annotations(database, clock)
        self.relocation = Relocation(database)
        self.index_tasks = IndexTasks(database)
        self.vectors = Vectors(database)
        self.faces = FaceTables(database, self.vectors)
        self.characters = CharacterTables(database, clock)
        self.replacements = Replacements(database, self.characters)
        self.annotation_exchange = AnnotationExchange(database, clock, self.characters.notify)
        self.corrections = Corrections(database, self.characters, clock)
        self.forgetter = Forgetter(database, self._on_forgotten)
        self.bulk_reader = BulkReader(database)
        self.perceptual_hashes = PerceptualHashes(database)
        self.statistics = ImageStatistics(database)
        self.fulltext = Fulltext(database)
        self.filters = Filters(database)
        self.jobs = JobLedger(database, clock)
        self.events = Events(database, clock)
        self.metrics = MetricsReader(database)

    @classmethod
    def open(
        cls, path: Path, *, read_only: bool = False, clock: Callable[[], float] = time.time, vfs: str | None = None
    ) -> SqliteStore:
        """Open the index at `path`; create or migrate it first, unless `read_only`.

        Raises StoreError when the file is newer than this program, is no index, is on a network file system, or (read-only)
        does not exist. `vfs` names an apsw VFS for fault injection.
        """
        return cls(open_database(path, read_only=read_only, vfs=vfs), clock)

    def _on_forgotten(self, images: Collection[int], regions: Collection[int]) -> None:
        self.vectors.notify_removed("image_id", images)
        self.faces.notify(FacesChanged((), tuple(regions)))

    @property
    def path(self) -> Path:
        """The file of the index."""
        return self._database.path

    def set_damage_listener(self, notify: Callable[[IndexDamaged], None]) -> None:
        """Call `notify`, in the thread that met it, when a page of the index cannot be read."""
        self._database.damaged.subscribe(notify)

    def watch_changes(self, listener: Callable[[StoreChanges], None]) -> Callable[[], None]:
        """Call `listener`, in the writing thread, after every commit that changed images, annotations, jobs or events.

        Returns the function that unsubscribes it.
        """
        return self._database.watch_changes(listener)

    def guard_files(self) -> None:
        """From now on refuse writes when a file of the index is deleted or replaced; see `lost_files` and `rescue`."""
        self._database.guard_files()

    def lost_files(self) -> str | None:
        """Which files of the index were deleted or replaced, as a sentence; None when all are in place."""
        return self._database.lost_files()

    def rescue(self) -> Path:
        """Save the content of an index whose files are lost; see `rescue_index`."""
        return rescue_index(self._database)

    def release_memory(self) -> None:
        """Free caches that only make the next query a little faster."""
        self._database.release_memory()

    def close(self) -> None:
        """Close every connection; the index is one file again afterwards. Harmless when called twice."""
        self._database.close()

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
