"""What a picture still waits for, with the reason where a model is off."""

from __future__ import annotations

from collections.abc import Sequence

from indexd.layers.description import LAYERS
from indexd.store.index import Store
from indexd_schemas.output import PendingTask, RoleState


def pending_index_tasks(store: Store, roles: Sequence[RoleState], image_id: int) -> list[PendingTask]:
    """The picture's open work, stage by stage; `roles` say which model is off, and why."""
    rows = store.index_tasks.of_image(image_id)
    if not rows:
        return []
    off = {state.role: state.detail for state in roles if not state.on}
    pending = []
    for row in rows:
        layer = LAYERS.get(row.stage)
        waits_for = f"{layer.role} is off, because {off[layer.role]}" if layer and layer.role in off else None
        pending.append(
            PendingTask(stage=row.stage, state=row.state, attempts=row.attempts, error=row.error, waits_for=waits_for)
        )
    return pending
