"""Notices that the model files of a layer were replaced since its vectors were made."""

from __future__ import annotations

from indexd.indexing.stages import LAYERS
from indexd.store.protocols import IndexStorage
from indexd.worker.calls import WorkerSettings
from indexd.worker.role_availability import role_fingerprint


class ModelChanges:
    """Which layers' models have to be asked who they are.

    Without that a replaced model would go unnoticed until the next picture arrives, and questions would be compared with
    the vectors of the old one. Names, sizes and times of the files are compared, so that no model is loaded for nothing.
    """

    def __init__(self, store: IndexStorage, settings: WorkerSettings) -> None:
        self._store = store
        self._settings = settings
        self._unchecked: set[str] = set()
        self._fingerprinted: set[str] = set()

    def compare_files(self) -> None:
        """Compare every layer that has vectors with the files of its model."""
        for stage, layer in LAYERS.items():
            stamp = role_fingerprint(self._settings, layer.role)
            if stamp is None or self._store.vectors.active_revision(stage) is None:
                continue
            if self._store.key_values.get(_fingerprint_key(stage)) != stamp:
                self._unchecked.add(stage)

    def needs_identity_check(self, stage: str) -> bool:
        """Whether the model of `stage` is to be asked now."""
        return stage in self._unchecked

    def mark_check_sent(self, stage: str) -> None:
        """The question is on its way."""
        self._unchecked.discard(stage)

    def check_again(self, stage: str) -> None:
        """The question was not answered."""
        self._unchecked.add(stage)
        self._fingerprinted.discard(stage)

    def take_fingerprint(self, stage: str) -> str | None:
        """How the files look before a batch is sent, the first time only; to be given to `note` when it came back."""
        layer = LAYERS.get(stage)
        if layer is None or stage in self._fingerprinted:
            return None
        stamp = role_fingerprint(self._settings, layer.role)
        if stamp is not None:
            self._fingerprinted.add(stage)
        return stamp

    def store_fingerprint(self, stage: str, fingerprint: str) -> None:
        """The vectors of `stage` are of the model whose files look like `stamp`."""
        self._store.key_values.set(_fingerprint_key(stage), fingerprint)

    def discard_fingerprint(self, stage: str) -> None:
        """The batch failed: take the stamp again with the next one."""
        self._fingerprinted.discard(stage)


def _fingerprint_key(stage: str) -> str:
    return f"model of {stage}"
