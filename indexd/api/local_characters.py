"""The operations on characters carried out in this process; see Operations for what each method promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from indexd.characters.clusterer import Clusterer
from indexd.characters.keeper import Keeper
from indexd.characters.operations import correct, correction_log, list_characters, show_character, suggest
from indexd.characters.sampling import take_sample
from indexd.config import Config
from indexd.store.index import Store
from indexd.worker.handle import Submits
from indexd_schemas.characters import (
    CharacterList,
    CharacterQuestion,
    CharactersQuestion,
    ClusteringState,
    ClusterRequest,
    Corrected,
    Correction,
    CorrectionLog,
    Sample,
    SampleQuestion,
    ShownCharacter,
    Suggestions,
)


class LocalCharacters:
    """The part of LocalOperations that is about characters. `clusterer` is the daemon's; without it one of our own is made
    when it is needed, over the workers that `workers` gives."""

    def __init__(
        self, config: Config, store: Store, workers: Callable[[], Submits], clusterer: Clusterer | None
    ) -> None:
        self._config = config
        self._store = store
        self._lent_workers = workers
        self._daemons_clusterer = clusterer
        self._own_clusterer: Clusterer | None = None

    def characters(self, question: CharactersQuestion) -> CharacterList:
        """See Operations."""
        return list_characters(self._store, question)

    def character(self, question: CharacterQuestion) -> ShownCharacter:
        """See Operations."""
        return show_character(self._store, question)

    def correct(self, correction: Correction) -> Corrected:
        """See Operations."""
        return correct(self._store, correction)

    def corrections(self, limit: int) -> CorrectionLog:
        """See Operations."""
        return correction_log(self._store, limit)

    def suggest(self) -> Suggestions:
        """See Operations."""
        return suggest(self._store)

    def cluster(self, request: ClusterRequest) -> ClusteringState:
        """See Operations."""
        clusterer = self._clusterer()
        if request.action == "start":
            clusterer.start()
        elif request.action == "cancel":
            clusterer.cancel()
        return ClusteringState(**dataclasses.asdict(clusterer.standing()))

    def sample(self, question: SampleQuestion) -> Sample:
        """See Operations."""
        return take_sample(self._store, question)

    def stop_clustering(self) -> None:
        """End a clustering of our own; the daemon's goes on."""
        if self._own_clusterer is not None:
            self._own_clusterer.stop()

    def _clusterer(self) -> Clusterer:
        if self._daemons_clusterer is not None:
            return self._daemons_clusterer
        if self._own_clusterer is None:
            wanted, places = self._config.settings.characters, self._config.places
            keeper = Keeper(self._store, wanted.threshold, wanted.margin)
            self._own_clusterer = Clusterer(self._store, self._lent_workers, keeper, places.cache, wanted.min_faces)
        return self._own_clusterer
