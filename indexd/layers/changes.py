"""Notices that the model files of a layer were replaced since its vectors were made."""

from __future__ import annotations

from indexd.layers.description import LAYERS
from indexd.layers.ledger import Ledger
from indexd.worker.calls import WorkerSettings
from indexd.worker.roles import role_stamp


class ModelChanges:
    """Which layers' models have to be asked who they are.

    Without that a replaced model would go unnoticed until the next picture arrives, and questions would be compared with
    the vectors of the old one. Names, sizes and times of the files are compared, so that no model is loaded for nothing.
    """

    def __init__(self, store: Ledger, settings: WorkerSettings) -> None:
        self._store = store
        self._settings = settings
        self._to_ask: set[str] = set()
        self._noted: set[str] = set()

    def look(self) -> None:
        """Compare every layer that has vectors with the files of its model."""
        for stage, layer in LAYERS.items():
            stamp = role_stamp(self._settings, layer.role)
            if stamp is None or self._store.vectors.active(stage) is None:
                continue
            if self._store.meta.get(_key(stage)) != stamp:
                self._to_ask.add(stage)

    def is_to_be_asked(self, stage: str) -> bool:
        """Whether the model of `stage` is to be asked now."""
        return stage in self._to_ask

    def asked(self, stage: str) -> None:
        """The question is on its way."""
        self._to_ask.discard(stage)

    def ask_again(self, stage: str) -> None:
        """The question was not answered."""
        self._to_ask.add(stage)
        self._noted.discard(stage)

    def stamp(self, stage: str) -> str | None:
        """How the files look before a batch is sent, the first time only; to be given to `note` when it came back."""
        layer = LAYERS.get(stage)
        if layer is None or stage in self._noted:
            return None
        stamp = role_stamp(self._settings, layer.role)
        if stamp is not None:
            self._noted.add(stage)
        return stamp

    def note(self, stage: str, stamp: str) -> None:
        """The vectors of `stage` are of the model whose files look like `stamp`."""
        self._store.meta.set(_key(stage), stamp)

    def not_noted(self, stage: str) -> None:
        """The batch failed: take the stamp again with the next one."""
        self._noted.discard(stage)


def _key(stage: str) -> str:
    return f"model of {stage}"
