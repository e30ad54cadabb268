"""The index as the rest of the program sees it: one object, one attribute a table family."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType

from indexd.errors import IndexDamaged
from indexd.store.characters import Characters
from indexd.store.corrections import Corrections
from indexd.store.database import Database
from indexd.store.events import Events
from indexd.store.faces import Faces, FacesChanged
from indexd.store.files import Files
from indexd.store.filters import Filters
from indexd.store.forgetting import Forgetting
from indexd.store.fulltext import Fulltext
from indexd.store.gauges import Measuring
from indexd.store.images import Images
from indexd.store.keeping import Keeping
from indexd.store.ledger import JobLedger
from indexd.store.marks import Marks
from indexd.store.meta import Meta
from indexd.store.migrate import open_database
from indexd.store.picture_hashes import PictureHashes
from indexd.store.relocation import Relocation
from indexd.store.roots import Roots
from indexd.store.succession import Successions
from indexd.store.tallies import Tallies
from indexd.store.vectors import Vectors
from indexd.store.walks import Walks
from indexd.store.work import Work


class Store:
    """An open index. Every method of every family may be called from any thread, and is one transaction.

    Errors are StoreError (StorageFull when the disk is full: nothing of that transaction was kept, and the same store
    goes on working once there is room).
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self.meta = Meta(database)
        self.roots = Roots(database)
        self.files = Files(database)
        self.images = Images(database)
        self.marks = Marks(database, clock)
        self.relocation = Relocation(database)
        self.work = Work(database)
        self.vectors = Vectors(database)
        self.faces = Faces(database, self.vectors)
        self.characters = Characters(database, clock)
        self.successions = Successions(database, self.characters)
        self.keeping = Keeping(database, clock, self.characters.changed)
        self.corrections = Corrections(database, self.characters, clock)
        self.forgetting = Forgetting(database, self._on_forgotten)
        self.walks = Walks(database)
        self.picture_hashes = PictureHashes(database)
        self.tallies = Tallies(database)
        self.fulltext = Fulltext(database)
        self.filters = Filters(database)
        self.jobs = JobLedger(database, clock)
        self.events = Events(database, clock)
        self.measuring = Measuring(database)

    @classmethod
    def open(
        cls, path: Path, *, read_only: bool = False, clock: Callable[[], float] = time.time, vfs: str | None = None
    ) -> Store:
        """Open the index at `path`, making or migrating it first (not when `read_only`).

        Raises StoreError with a sentence when the file is newer than this program, is no index, lies on a network file
        system, or (read-only) is not there. `vfs` names an apsw VFS for fault injection.
        """
        return cls(open_database(path, read_only=read_only, vfs=vfs), clock)

    def _on_forgotten(self, images: Collection[int], regions: Collection[int]) -> None:
        self.vectors.removed("image_id", images)
        self.faces.changed(FacesChanged((), tuple(regions)))

    @property
    def path(self) -> Path:
        """The file of the index."""
        return self._database.path

    def watch_for_damage(self, tell: Callable[[IndexDamaged], None]) -> None:
        """Have `tell` called, in the thread that met it, when a page of the index cannot be read."""
        self._database.on_damage = tell

    def give_back(self) -> None:
        """Let go of memory that only makes the next question a little faster."""
        self._database.give_back()

    def close(self) -> None:
        """Close every connection; the index is one file again afterwards. Harmless when called twice."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
