"""The embedding layers of whole images: prompts and negative prompts by text models, pixels by clip_h."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from indexd.indexing.stages.index_stage import DimensionMismatch, IndexStage, StageContext, TaskBatch, present_files
from indexd.indexing.stages.registry import add_stage
from indexd.store.protocols import IndexStore
from indexd.store.records import IndexTask, StageInput
from indexd.worker.calls import MAX_EMBEDDED_TOKENS, AnyCall, Embedded, EmbedImages, EmbedText, Priority

MAX_BATCH_CHARACTERS = 4 * MAX_EMBEDDED_TOKENS
"""About one text of the greatest length, or fifty usual ones: no other call waits for more prose than that."""
MAX_SENT_CHARACTERS = 16 * MAX_EMBEDDED_TOKENS
"""More cannot matter: a token rarely has more than four characters."""


class EmbeddingStage(IndexStage):
    """One layer: a vector an image, of what `needs` names, by the model of `role`."""

    role: str

    def __init__(self, name: str, role: str, needs: StageInput, order: int) -> None:
        self.name = name
        self.role = role
        self.needs = needs
        self.order = order
        self.priority = Priority.BACKGROUND if needs == "image" else Priority.BACKGROUND_TEXT

    def identity_call(self) -> AnyCall | None:
        return EmbedText(self.role, ())

    def needs_identity(self, store: IndexStore) -> bool:
        return store.vectors.active_revision(self.name) is not None

    def build(self, tasks: Sequence[IndexTask], context: StageContext) -> TaskBatch | None:
        if self.needs == "image":
            ready, paths = present_files(self, tasks, context)
            pixel_files = context.decoded.files(self.name, [task.image_id for task in ready])
            return TaskBatch(self.name, ready, EmbedImages(self.role, paths, pixel_files), paths) if ready else None
        texts = context.store.images.prompts([task.image_id for task in tasks], self.needs)
        ready = tuple(task for task in tasks if texts.get(task.image_id, "").strip())
        without = [task.image_id for task in tasks if task not in ready]
        if without:
            context.store.index_tasks.mark_done(self.name, without)
        total = list(accumulate(min(len(texts[task.image_id]), MAX_BATCH_CHARACTERS) for task in ready))
        count = max(1, sum(so_far <= MAX_BATCH_CHARACTERS for so_far in total))
        if count < len(ready):
            context.store.index_tasks.requeue(self.name, [task.image_id for task in ready[count:]])
        ready = ready[:count]
        call = EmbedText(self.role, tuple(texts[task.image_id][:MAX_SENT_CHARACTERS] for task in ready))
        return TaskBatch(self.name, ready, call) if ready else None

    def store(self, batch: TaskBatch, result: Any, context: StageContext) -> Mapping[int, str]:
        """Raises DimensionMismatch."""
        embedded: Embedded = result
        vectors = context.store.vectors
        active, dim = vectors.active_revision(self.name), embedded.vectors.shape[1]
        if active is not None and active.identity == embedded.identity:
            if dim != active.dim:
                raise DimensionMismatch(
                    f"the model of {self.name} returned vectors of {dim} numbers; the stored ones have {active.dim}"
                )
            revision = active.id
        else:
            revision = vectors.activate(self.name, embedded.identity, dim, self.needs)
        places = [place for place in range(len(batch.tasks)) if place not in embedded.problems]
        if places:
            ids = [batch.tasks[place].image_id for place in places]
            vectors.put(self.name, revision, ids, np.ascontiguousarray(embedded.vectors[places]))
        return embedded.problems


def truncation_notes(prompt: str | None, negative_prompt: str | None) -> list[str]:
    """A sentence for each text that is too long to be embedded whole."""
    return [
        f"the {name} is long: at most its first {MAX_EMBEDDED_TOKENS} tokens are embedded; full text covers all of it"
        for name, text in (("prompt", prompt), ("negative prompt", negative_prompt))
        if len((text or "").encode("utf-8", "replace")) > 4 * MAX_EMBEDDED_TOKENS
    ]


# Images before prose: among equals, an image must not wait for another image's text.
add_stage(EmbeddingStage("clip_h", role="clip_h", needs="image", order=20))
add_stage(EmbeddingStage("bge_prompt", role="bge", needs="prompt", order=30))
add_stage(EmbeddingStage("bge_negative", role="bge", needs="negative_prompt", order=31))
add_stage(EmbeddingStage("clip_l", role="clip_l", needs="prompt", order=32))
add_stage(EmbeddingStage("clip_g", role="clip_g", needs="prompt", order=33))
