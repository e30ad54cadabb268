"""Assigns new faces to the character with the most similar prototype."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable

import numpy as np

from indexd.background.background_service import BackgroundService
from indexd.background.backoff import Backoff
from indexd.characters.prototype_matcher import PrototypeMatcher, select_prototype_faces
from indexd.errors import StoreError, is_transient
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER, FacesChanged

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
RETRY_SECONDS = 30.0


class FaceAssigner(BackgroundService):
    """Holds the prototypes of all characters in memory, made from the vectors in the index.

    `start` makes a thread that follows every change; without it, `refresh` and `assign_new` do the same when called.
    """

    def __init__(
        self,
        store: IndexStore,
        threshold: float,
        margin: float,
        on_failure: Callable[[BaseException], None] = lambda _error: None,
    ) -> None:
        super().__init__("characters", on_failure=on_failure, retry=Backoff(RETRY_SECONDS, RETRY_SECONDS))
        self.matcher = PrototypeMatcher(threshold, margin)
        self._store = store
        self._new_faces: set[int] = set()
        self._changed_characters: set[int] = set()
        # Faces and characters of the batch that is being processed or retried; None = all.
        self._batch: tuple[set[int] | None, set[int] | None] | None = None
        self._revision_id: int | None = None

    def start(self) -> None:
        """Subscribe to changes of the index. The first batch is all faces: earlier changes were not observed."""
        self._batch = (None, None)
        self._store.faces.subscribe(self._on_faces)
        self._store.characters.subscribe(self._on_characters)
        super().start()

    def stop(self, timeout_seconds: float | None = STOP_SECONDS) -> bool:
        return super().stop(timeout_seconds)

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until every reported change is processed; returns whether it was within the timeout."""
        with self.condition:
            return self.condition.wait_for(
                lambda: not (self._new_faces or self._changed_characters or self._batch), timeout_seconds
            )

    def run_once(self) -> None:
        with self.condition:
            if self._batch is None and (self._new_faces or self._changed_characters):
                self._batch = self._new_faces, self._changed_characters
                self._new_faces, self._changed_characters = set(), set()
            batch = self._batch
        if batch is None:
            return
        new, changed = batch
        self.refresh(None if changed is None else changed | self._characters_of_faces(new or ()))
        if count := self.assign_new(new):
            log.debug("assigned %d new faces to characters", count)
        with self.condition:
            self._batch = None
            self.condition.notify_all()

    def is_retryable(self, error: Exception) -> bool:
        """A full disk or a lack of file handles: the faces stay without a character until a retry succeeds."""
        return isinstance(error, StoreError) or is_transient(error)

    def on_retry(self, error: Exception, pause_seconds: float) -> None:
        log.warning("new faces were not assigned to characters, trying again in %g s: %s", pause_seconds, error)

    def refresh(self, characters: Collection[int] | None = None) -> None:
        """Compute the prototypes of these characters (None = all) from their current faces."""
        revision = self._store.vectors.active_revision(FACE_LAYER)
        if revision is None:
            return
        if revision.id != self._revision_id:
            # Vectors of two models cannot be compared.
            self.matcher.clear()
            characters = None
        thresholds = self._store.characters.thresholds()
        members = self._store.characters.members(characters)
        owner = np.array([one.character_id for one in members], np.int64)
        region = np.array([one.region_id for one in members], np.int64)
        confirmed = np.array([one.source == "confirmed" for one in members], np.bool_)
        # Includes characters that have lost their last face.
        affected = set(owner.tolist()) | (
            set(characters) if characters is not None else set(self.matcher.all_prototypes())
        )
        for character in sorted(affected):
            is_member = owner == character
            selected = select_prototype_faces(region[is_member], confirmed[is_member])
            read = self._store.faces.vectors(selected.tolist(), revision.id)
            self.matcher.set_faces(character, read.vectors.astype(np.float32), thresholds.get(character))
        # Set last: after an error, the next refresh computes all prototypes again.
        self._revision_id = revision.id

    def assign_new(self, regions: Collection[int] | None = None) -> int:
        """Assign the faces without a character among these (None = all) to the nearest one; returns the count."""
        assigned = 0
        for part in self._store.faces.iter_vectors(regions, self._revision_id) if self._revision_id is not None else ():
            owned = self._store.characters.memberships_by_region(part.ids.tolist())
            free = np.array([one not in owned for one in part.ids.tolist()], np.bool_)
            if not free.any():
                continue
            ids = part.ids[free]
            row_of = {region: row for row, region in enumerate(ids.tolist())}
            rejected = [
                (row_of[region], character)
                for region, characters in self._store.characters.rejections(ids.tolist()).items()
                for character in characters
            ]
            matches = self.matcher.nearest(part.vectors[free].astype(np.float32), rejected)
            matched = matches.character > 0
            assigned += self._store.characters.assign(
                dict(zip(ids[matched].tolist(), matches.character[matched].tolist(), strict=True))
            )
        return assigned

    def _on_faces(self, change: FacesChanged) -> None:
        with self.condition:
            self._new_faces.update(change.put)
        self.wake()

    def _on_characters(self, characters: Collection[int]) -> None:
        with self.condition:
            self._changed_characters.update(characters)
        self.wake()

    def _characters_of_faces(self, regions: Iterable[int]) -> set[int]:
        """The characters whose faces have new vectors."""
        return {member.character_id for member in self._store.characters.memberships_by_region(list(regions)).values()}
