"""Notices that the model files of a stage were replaced since its results were made."""

from __future__ import annotations

from collections.abc import Callable

from indexd.indexing.stages.index_stage import IndexStage
from indexd.indexing.stages.registry import all_stages
from indexd.store.protocols import IndexStore


class ModelChanges:
    """Which stages have to ask their model for its identity.

    Without that a replaced model would go unnoticed until the next image arrives, and queries would be compared with
    the embeddings of the old one. Names, sizes and times of the files are compared, so that no model is loaded in vain.
    """

    def __init__(self, store: IndexStore, fingerprint_of: Callable[[str], str | None]) -> None:
        """`fingerprint_of` gives the fingerprint of the model files of a role; None = it has none."""
        self._store = store
        self._fingerprint_of = fingerprint_of
        self._unchecked: set[str] = set()
        self._fingerprinted: set[str] = set()

    def compare_files(self) -> None:
        """Compare the model files of every stage that has results with those that made them."""
        for stage in all_stages():
            fingerprint = self._fingerprint(stage)
            if fingerprint is None or not stage.needs_identity(self._store):
                continue
            if self._store.key_values.get(_fingerprint_key(stage.name)) != fingerprint:
                self._unchecked.add(stage.name)

    def needs_identity_check(self, stage: IndexStage) -> bool:
        """Whether the model of `stage` is to be asked for its identity now."""
        return stage.name in self._unchecked

    def mark_check_sent(self, stage: IndexStage) -> None:
        """The identity call was sent."""
        self._unchecked.discard(stage.name)

    def check_again(self, stage: str) -> None:
        """The identity call failed."""
        self._unchecked.add(stage)
        self._fingerprinted.discard(stage)

    def take_fingerprint(self, stage: IndexStage) -> str | None:
        """The fingerprint of the model files before the first batch is sent; to be stored when that has succeeded."""
        if stage.name in self._fingerprinted:
            return None
        fingerprint = self._fingerprint(stage)
        if fingerprint is not None:
            self._fingerprinted.add(stage.name)
        return fingerprint

    def store_fingerprint(self, stage: str, fingerprint: str) -> None:
        """The results of `stage` were made by the model whose files have this fingerprint."""
        self._store.key_values.set(_fingerprint_key(stage), fingerprint)

    def discard_fingerprint(self, stage: str) -> None:
        """The batch failed: take the fingerprint again with the next one."""
        self._fingerprinted.discard(stage)

    def _fingerprint(self, stage: IndexStage) -> str | None:
        return None if stage.role is None else self._fingerprint_of(stage.role)


def _fingerprint_key(stage: str) -> str:
    return f"model of {stage}"
