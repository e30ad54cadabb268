"""The operations on characters carried out in this process; see Operations for what each method promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from indexd.characters.clustering_service import ClusteringService
from indexd.characters.face_assigner import FaceAssigner
from indexd.characters.operations import (
    apply_correction,
    correction_log,
    list_characters,
    show_character,
    suggest_corrections,
)
from indexd.characters.sampling import take_sample
from indexd.config import Config
from indexd.store.sqlite.store import Store
from indexd.worker.call_handle import WorkerBackend
from indexd_schemas.api.characters import (
    CharacterList,
    CharacterListRequest,
    CharacterRequest,
    ClusteringState,
    ClusterRequest,
    CorrectionLog,
    CorrectionRequest,
    CorrectionResult,
    SampleRequest,
    SampleResult,
    ShownCharacter,
    Suggestions,
)


class LocalCharacterOperations:
    """The part of LocalOperations that is about characters. `clusterer` is the daemon's; without it one of our own is made
    when it is needed, over the workers that `workers` gives."""

    def __init__(
        self, config: Config, store: Store, workers: Callable[[], WorkerBackend], clusterer: ClusteringService | None
    ) -> None:
        self._config = config
        self._store = store
        self._get_workers = workers
        self._daemon_clusterer = clusterer
        self._own_clusterer: ClusteringService | None = None

    def characters(self, question: CharacterListRequest) -> CharacterList:
        """See Operations."""
        return list_characters(self._store, question)

    def character(self, question: CharacterRequest) -> ShownCharacter:
        """See Operations."""
        return show_character(self._store, question)

    def correct(self, correction: CorrectionRequest) -> CorrectionResult:
        """See Operations."""
        return apply_correction(self._store, correction)

    def corrections(self, limit: int) -> CorrectionLog:
        """See Operations."""
        return correction_log(self._store, limit)

    def suggest(self) -> Suggestions:
        """See Operations."""
        return suggest_corrections(self._store)

    def cluster(self, request: ClusterRequest) -> ClusteringState:
        """See Operations."""
        clusterer = self._clusterer()
        if request.action == "start":
            clusterer.start()
        elif request.action == "cancel":
            clusterer.cancel()
        return ClusteringState(**dataclasses.asdict(clusterer.progress()))

    def sample(self, question: SampleRequest) -> SampleResult:
        """See Operations."""
        return take_sample(self._store, question)

    def stop_clustering(self) -> None:
        """End a clustering of our own; the daemon's goes on."""
        if self._own_clusterer is not None:
            self._own_clusterer.stop()

    def _clusterer(self) -> ClusteringService:
        if self._daemon_clusterer is not None:
            return self._daemon_clusterer
        if self._own_clusterer is None:
            wanted, places = self._config.settings.characters, self._config.paths
            keeper = FaceAssigner(self._store, wanted.threshold, wanted.margin)
            self._own_clusterer = ClusteringService(
                self._store, self._get_workers, keeper, places.cache, wanted.min_faces
            )
        return self._own_clusterer
