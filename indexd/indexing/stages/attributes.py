"""The base of stages that state attributes of an image: captions, automatic tags, scores.

A stage of this kind is a name and a function of the worker:

    @register_stage
    class CaptionStage(AttributeStage):
        name = "caption"
        function = "my_package.captions:caption_images"

`caption_images(call: AnalyseImages, session: CallSession) -> ImagesAnalysed` runs in the worker, where it may import
torch. The table [stages.caption] of the settings switches the stage on and names its model: `session.spec("caption")`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from indexd.indexing.stages.index_stage import IndexStage, StageContext, TaskBatch, present_files
from indexd.store.protocols import IndexStore
from indexd.store.records import IndexTask
from indexd.worker.calls import AnalyseImages, AnyCall, ImagesAnalysed


class AttributeStage(IndexStage):
    """A stage whose results are rows (key, value, score): found by `auto:`, by full text, shown by `show`."""

    function: str
    """Where the worker finds what serves the call: "module:function"."""
    is_optional = True

    def __init__(self) -> None:
        self.role = self.name

    def identity_call(self) -> AnyCall | None:
        return AnalyseImages(self.name, self.function, ())

    def needs_identity(self, store: IndexStore) -> bool:
        return store.attributes.identity(self.name) is not None

    def build(self, tasks: Sequence[IndexTask], context: StageContext) -> TaskBatch | None:
        ready, paths = present_files(self, tasks, context)
        if not ready:
            return None
        pixel_files = context.decoded.files(self.name, [task.image_id for task in ready])
        return TaskBatch(self.name, ready, AnalyseImages(self.name, self.function, paths, pixel_files), paths)

    def store(self, batch: TaskBatch, result: Any, context: StageContext) -> Mapping[int, str]:
        analysed: ImagesAnalysed = result
        context.store.attributes.activate(self.name, analysed.identity, self.needs)
        context.store.attributes.put(
            self.name,
            {
                image_id: analysed.attributes[place]
                for place, image_id in enumerate(batch.image_ids)
                if place not in analysed.problems
            },
        )
        return analysed.problems
