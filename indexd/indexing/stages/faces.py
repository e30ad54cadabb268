"""Faces and other regions: found by the detectors of the settings, faces embedded for the layer `face`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from indexd.indexing.stages.index_stage import IndexStage, StageContext, TaskBatch, present_files
from indexd.indexing.stages.registry import register_stage
from indexd.store.protocols import IndexStore
from indexd.store.records import IndexTask
from indexd.worker.calls import FACES, AnyCall, FacesFound, FindFaces, WorkerSettings


@register_stage
class FaceStage(IndexStage):
    """Regions of an image, and one vector a face."""

    name = "face"
    role = FACES
    needs = "faces"
    is_optional = True
    order = 21

    def batch_size(self, settings: WorkerSettings) -> int:
        return settings.faces.batch_size

    def identity_call(self) -> AnyCall | None:
        return FindFaces(())

    def needs_identity(self, store: IndexStore) -> bool:
        return store.vectors.active_revision(self.name) is not None

    def build(self, tasks: Sequence[IndexTask], context: StageContext) -> TaskBatch | None:
        """Regions that a person labelled are sent along: they are kept and embedded, found again or not."""
        ready, paths = present_files(self, tasks, context)
        if not ready:
            return None
        ids = [task.image_id for task in ready]
        labelled = context.store.faces.with_annotations(ids)
        known = tuple(tuple(row.region for row in labelled.get(task.image_id, ())) for task in ready)
        return TaskBatch(self.name, ready, FindFaces(paths, known, context.decoded.files(self.name, ids)), paths)

    def store(self, batch: TaskBatch, result: Any, context: StageContext) -> Mapping[int, str]:
        """An image without faces is done as well. With other models than before, every image is queued again."""
        found: FacesFound = result
        faces = context.store.faces
        revision = faces.activate(found.identity, found.vectors.shape[1], found.detector_identity)
        regions = {
            image_id: found.regions[place]
            for place, image_id in enumerate(batch.image_ids)
            if place not in found.problems
        }
        faces.put(revision, regions, found.vectors)
        return found.problems
