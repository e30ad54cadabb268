"""What a back end of the index offers to the other packages: one repository for each kind of data.

SQLite is the one back end today (indexd/store/sqlite). tests/store/contract holds the tests that every back end passes.
"""

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
from indexd.store.protocols.index_store import IndexStore
from indexd.store.protocols.index_tasks import IndexTaskRepository
from indexd.store.protocols.jobs import JobOutputRepository, JobRepository
from indexd.store.protocols.vectors import BulkReaderRepository, VectorRepository

__all__ = [
    "AnnotationExchangeRepository",
    "AnnotationRepository",
    "AttributeRepository",
    "BulkReaderRepository",
    "CharacterRepository",
    "CorrectionRepository",
    "EventRepository",
    "FaceRepository",
    "FileRepository",
    "FilterRepository",
    "ForgetRepository",
    "FulltextRepository",
    "ImageRepository",
    "IndexStore",
    "IndexTaskRepository",
    "JobOutputRepository",
    "JobRepository",
    "KeyValueRepository",
    "MetricsRepository",
    "PerceptualHashRepository",
    "RelocationRepository",
    "ReplacementRepository",
    "RootRepository",
    "StatisticsRepository",
    "VectorRepository",
]
