"""Keeps what characters look like in memory, and gives new faces to them as they come."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable

import numpy as np

from indexd.characters.prototype_matcher import PrototypeMatcher, select_prototype_faces
from indexd.errors import StoreError, is_transient
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER, FacesChanged

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
RETRY_SECONDS = 30.0


class FaceAssigner:
    """References of all characters, from the vectors in the index.

    `start` makes a thread that follows every change; without it, `refresh` and `assign_new` do the same when called.
    """

    def __init__(
        self,
        store: IndexStore,
        threshold: float,
        margin: float,
        on_failure: Callable[[BaseException], None] = lambda _error: None,
    ) -> None:
        self.matcher = PrototypeMatcher(threshold, margin)
        self._store = store
        self._on_failure = on_failure
        self._condition = threading.Condition()
        self._new_faces: set[int] = set()
        self._changed_characters: set[int] = set()
        self._revision_id: int | None = None
        self._stopping = False
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="characters", daemon=True)

    def start(self) -> None:
        """Follow the index from now on. What came while nobody followed is found by looking at all faces once."""
        self._store.faces.subscribe(self._on_faces)
        self._store.characters.subscribe(self._on_characters)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Harmless when it never started."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until everything that was heard of is done; False when it was not within `timeout` seconds."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not (self._new_faces or self._changed_characters or self._busy), timeout_seconds
            )

    def refresh(self, characters: Collection[int] | None = None) -> None:
        """Describe these characters, or all, from the faces that they have now."""
        revision = self._store.vectors.active_revision(FACE_LAYER)
        if revision is None:
            return
        if revision.id != self._revision_id:
            # Vectors of two models say nothing about each other.
            self.matcher.clear()
            characters = None
        thresholds = self._store.characters.thresholds()
        members = self._store.characters.members(characters)
        owner = np.array([one.character_id for one in members], np.int64)
        region = np.array([one.region_id for one in members], np.int64)
        sure = np.array([one.source == "confirmed" for one in members], np.bool_)
        everyone = set(owner.tolist()) | (
            set(characters) if characters is not None else set(self.matcher.all_prototypes())
        )
        for one in sorted(everyone):
            mine = owner == one
            chosen = select_prototype_faces(region[mine], sure[mine])
            read = self._store.faces.vectors(chosen.tolist(), revision.id)
            self.matcher.set_faces(one, read.vectors.astype(np.float32), thresholds.get(one))
        # Only now: what broke off on the way is begun anew with everybody.
        self._revision_id = revision.id

    def assign_new(self, regions: Collection[int] | None = None) -> int:
        """Give those of these faces, or of all, that are nobody's to the characters they are near; how many were given."""
        given = 0
        for part in self._store.faces.iter_vectors(regions, self._revision_id) if self._revision_id is not None else ():
            owned = self._store.characters.memberships_by_region(part.ids.tolist())
            free = np.array([one not in owned for one in part.ids.tolist()], np.bool_)
            if not free.any():
                continue
            ids = part.ids[free]
            place_of = {one: place for place, one in enumerate(ids.tolist())}
            rejected = [
                (place_of[region], character)
                for region, those in self._store.characters.rejections(ids.tolist()).items()
                for character in those
            ]
            near = self.matcher.nearest(part.vectors[free].astype(np.float32), rejected)
            sure = near.character > 0
            given += self._store.characters.assign(
                dict(zip(ids[sure].tolist(), near.character[sure].tolist(), strict=True))
            )
        return given

    def _on_faces(self, change: FacesChanged) -> None:
        with self._condition:
            self._new_faces.update(change.put)
            self._condition.notify_all()

    def _on_characters(self, characters: Collection[int]) -> None:
        with self._condition:
            self._changed_characters.update(characters)
            self._condition.notify_all()

    def _run(self) -> None:
        work: tuple[set[int], set[int]] | tuple[None, None] | None = (None, None)
        try:
            while work is not None:
                if self._process_batch(*work):
                    work = self._next_batch()
                elif self._wait_for_stop(RETRY_SECONDS):
                    return
        except BaseException as error:
            self._on_failure(error)

    def _next_batch(self) -> tuple[set[int], set[int]] | None:
        with self._condition:
            self._busy = False
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._stopping or self._new_faces or self._changed_characters)
            if self._stopping:
                return None
            self._busy = True
            new, changed = self._new_faces, self._changed_characters
            self._new_faces, self._changed_characters = set(), set()
            return new, changed

    def _wait_for_stop(self, seconds: float) -> bool:
        """Wait so long; whether the thread is to end."""
        with self._condition:
            return self._condition.wait_for(lambda: self._stopping, seconds)

    def _process_batch(self, new: Collection[int] | None, changed: Collection[int] | None) -> bool:
        """Whether it was done; else it is to be done again."""
        try:
            self.refresh(None if changed is None else {*changed, *self._characters_of_faces(new or ())})
            count = self.assign_new(new)
        except (StoreError, OSError) as error:
            if not (isinstance(error, StoreError) or is_transient(error)):
                raise
            # A full disk, or no handle left: the faces stay nobody's until it is over.
            log.warning("new faces were not given to characters, trying again in %g s: %s", RETRY_SECONDS, error)
            return False
        if count:
            log.debug("%d new faces were given to characters", count)
        return True

    def _characters_of_faces(self, regions: Iterable[int]) -> set[int]:
        """The characters whose faces have new vectors."""
        return {member.character_id for member in self._store.characters.memberships_by_region(list(regions)).values()}
