"""Faces on their way: the call that finds them in a batch of pictures, and its result into the index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from indexd.store.protocols import IndexStorage
from indexd.worker.calls import FacesFound, FindFaces


def build_call(store: IndexStorage, ids: Sequence[int], paths: Mapping[int, bytes]) -> FindFaces:
    """The call for these pictures, with the regions that people spoke of: those are kept and embedded, found again or not."""
    kept = store.faces.with_annotations(ids)
    known = tuple(tuple(row.region for row in kept.get(image_id, ())) for image_id in ids)
    return FindFaces(tuple(paths[image_id] for image_id in ids), known)


def store_result(store: IndexStorage, ids: Sequence[int], result: FacesFound) -> None:
    """Store what was found in each picture; one without faces is done as well. Those with a problem are left out.

    With other models than before, every picture waits to be looked at again.
    """
    revision = store.faces.activate(result.identity, result.vectors.shape[1], result.detector_identity)
    found = {
        image_id: regions
        for place, (image_id, regions) in enumerate(zip(ids, result.regions, strict=True))
        if place not in result.problems
    }
    store.faces.put(revision, found, result.vectors)
