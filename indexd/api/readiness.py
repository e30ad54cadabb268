"""Whether the daemon can be relied on now: alive is not enough, its index must answer and its queues must move."""

from __future__ import annotations

from indexd.api.live import DaemonContext
from indexd.errors import StoreError
from indexd.store.index import Store
from indexd.watch.paths import display
from indexd_schemas.replies import Readiness


def readiness(store: Store, context: DaemonContext | None) -> Readiness:
    """Ready, or every reason why not. A folder that is offline is no reason: nothing can be done about it here."""
    if context is None:
        return Readiness(ready=False, reasons=["the daemon is not running"])
    reasons = []
    try:
        store.jobs.pause_reason()
    except StoreError as error:
        reasons.append(f"the index does not answer: {error}")
    reasons += [
        f"{display(root.path)} was not yet compared with the index"
        for root in context.watch.status()
        if root.online and root.last_reconcile is None
    ]
    reasons += [
        f"{pulse.name} has not moved for {pulse.overdue_seconds():.0f} s"
        for pulse in context.thread_liveness()
        if pulse.is_overdue()
    ]
    return Readiness(ready=not reasons, reasons=reasons)
