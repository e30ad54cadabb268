"""What a picture still waits for, with the reason where a model is off."""

from __future__ import annotations

from collections.abc import Sequence

from indexd.layers.description import LAYERS
from indexd.store.index import Store
from indexd_schemas.output import PendingWork, RoleState


def pending_work(store: Store, roles: Sequence[RoleState], image_id: int) -> list[PendingWork]:
    """The picture's open work, stage by stage; `roles` say which model is off, and why."""
    rows = store.work.of_image(image_id)
    if not rows:
        return []
    off = {state.role: state.detail for state in roles if not state.on}
    pending = []
    for row in rows:
        layer = LAYERS.get(row.stage)
        waits_for = f"{layer.role} is off, because {off[layer.role]}" if layer and layer.role in off else None
        pending.append(
            PendingWork(stage=row.stage, state=row.state, attempts=row.attempts, error=row.error, waits_for=waits_for)
        )
    return pending
