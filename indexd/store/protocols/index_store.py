"""An open index: its repositories and its life cycle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from indexd.errors import IndexDamaged
from indexd.store.protocols.admin import EventRepository, KeyValueRepository, MetricsRepository
from indexd.store.protocols.annotations import AnnotationExchangeRepository, AnnotationRepository, ReplacementRepository
from indexd.store.protocols.faces import CharacterRepository, CorrectionRepository, FaceRepository
from indexd.store.protocols.files import FileRepository, ForgetRepository, RelocationRepository, RootRepository
from indexd.store.protocols.images import (
    AttributeRepository,
    FilterRepository,
    FulltextRepository,
    ImageRepository,
    PerceptualHashRepository,
    StatisticsRepository,
)
from indexd.store.protocols.index_tasks import IndexTaskRepository
from indexd.store.protocols.jobs import JobRepository
from indexd.store.protocols.vectors import BulkReaderRepository, VectorRepository
from indexd.store.records import StoreChanges


class IndexStore(Protocol):
    """An open index. Every method of every repository may be called from any thread and is one transaction.

    Errors are StoreError. After StorageFull nothing of that transaction was kept, and the store works again when there is
    room.
    """

    @property
    def key_values(self) -> KeyValueRepository: ...

    @property
    def roots(self) -> RootRepository: ...

    @property
    def files(self) -> FileRepository: ...

    @property
    def relocation(self) -> RelocationRepository: ...

    @property
    def forgetter(self) -> ForgetRepository: ...

    @property
    def images(self) -> ImageRepository: ...

    @property
    def attributes(self) -> AttributeRepository: ...

    @property
    def perceptual_hashes(self) -> PerceptualHashRepository: ...

    @property
    def fulltext(self) -> FulltextRepository: ...

    @property
    def filters(self) -> FilterRepository: ...

    @property
    def statistics(self) -> StatisticsRepository: ...

    @property
    def annotations(self) -> AnnotationRepository: ...

    @property
    def annotation_exchange(self) -> AnnotationExchangeRepository: ...

    @property
    def replacements(self) -> ReplacementRepository: ...

    @property
    def index_tasks(self) -> IndexTaskRepository: ...

    @property
    def vectors(self) -> VectorRepository: ...

    @property
    def bulk_reader(self) -> BulkReaderRepository: ...

    @property
    def faces(self) -> FaceRepository: ...

    @property
    def characters(self) -> CharacterRepository: ...

    @property
    def corrections(self) -> CorrectionRepository: ...

    @property
    def jobs(self) -> JobRepository: ...

    @property
    def events(self) -> EventRepository: ...

    @property
    def metrics(self) -> MetricsRepository: ...

    @property
    def path(self) -> Path:
        """Where the index is stored."""
        ...

    def set_damage_listener(self, notify: Callable[[IndexDamaged], None]) -> None:
        """Call `notify`, in the thread that met it, when part of the index cannot be read."""
        ...

    def watch_changes(self, listener: Callable[[StoreChanges], None]) -> Callable[[], None]:
        """Call `listener`, in the writing thread, after every commit that changed images, annotations, jobs or events.

        Returns the function that unsubscribes it.
        """
        ...

    def guard_files(self) -> None:
        """From now on refuse writes when a file of the index is deleted or replaced; see `lost_files` and `rescue`."""
        ...

    def lost_files(self) -> str | None:
        """Which files of the index were deleted or replaced, as a sentence; None if all are in place."""
        ...

    def rescue(self) -> Path:
        """Save the content of an index whose files are lost; returns the file that holds it."""
        ...

    def release_memory(self) -> None:
        """Free caches that only make the next query a little faster."""
        ...

    def close(self) -> None:
        """Close every connection. Harmless when repeated."""
        ...
