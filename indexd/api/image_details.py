"""One image with everything the index knows about it."""

from __future__ import annotations

from collections.abc import Sequence

from indexd.api.context import OperationContext
from indexd.api.status_report import current_role_states
from indexd.characters.operations import serialize_regions
from indexd.indexing.stages.embedding import truncation_notes
from indexd.indexing.stages.registry import find_stage
from indexd.search.serialization import (
    sanitize_text,
    serialize_attributes,
    serialize_extras,
    serialize_file,
    serialize_generation,
    serialize_image,
)
from indexd.store.protocols import IndexStore
from indexd.store.records import ImageRow
from indexd_schemas.api.output import PendingTask, RoleState, ShownImage


def serialize_shown_image(context: OperationContext, row: ImageRow) -> ShownImage:
    """The document of `indexd show`."""
    store = context.store
    raw: dict[str, str] = {}
    for chunk in store.images.raw_chunks(row.id):
        key = chunk.key if chunk.key not in raw else f"{chunk.key}#{sum(k.startswith(chunk.key) for k in raw) + 1}"
        raw[key] = sanitize_text(chunk.text)
    return ShownImage(
        notes=truncation_notes(row.prompt, row.negative_prompt),
        image=serialize_image(row),
        files=[serialize_file(file) for file in row.files],
        index_tasks=pending_index_tasks(store, current_role_states(context.config, context.daemon), row.id),
        regions=serialize_regions(store, store.faces.of_image(row.id)),
        generation=serialize_generation(store.images.metadata(row.id)),
        extras=serialize_extras(row),
        attributes=serialize_attributes(store.attributes.of_images([row.id]).get(row.id, ())),
        raw=raw,
    )


def pending_index_tasks(store: IndexStore, roles: Sequence[RoleState], image_id: int) -> list[PendingTask]:
    """The open index tasks of an image by stage, with the reason where the model of a stage is off."""
    off = {state.role: state.detail for state in roles if not state.on}
    pending = []
    for row in store.index_tasks.of_image(image_id):
        stage = find_stage(row.stage)
        waits_for = f"{stage.role} is off, because {off[stage.role]}" if stage and stage.role in off else None
        pending.append(
            PendingTask(stage=row.stage, state=row.state, attempts=row.attempts, error=row.error, waits_for=waits_for)
        )
    return pending
