"""Operations for monitoring."""

from __future__ import annotations

from indexd.api.context import OperationContext
from indexd.api.event_stream import HEARTBEAT_SECONDS, EventStream
from indexd.api.operations.registry import Access, operation
from indexd.errors import IndexdError
from indexd_schemas.api.output import DaemonStatus
from indexd_schemas.api.requests import EventsRequest, NoParameters
from indexd_schemas.api.responses import Health, Readiness

# A client that hears nothing for so long, not even a heartbeat, has lost the daemon.
EVENTS_TIMEOUT_SECONDS = 3 * HEARTBEAT_SECONDS


@operation("GET", "/health", access=Access.LOOPBACK, needs_index=False)
def health(_context: OperationContext, _: NoParameters) -> Health:
    """Answer while the process and its HTTP server run; the index is not asked."""
    return Health()


@operation("GET", "/ready", status=lambda readiness: 200 if readiness.ready else 503)
def ready(context: OperationContext, _: NoParameters) -> Readiness:
    """Report whether the daemon can be relied on now, and if not, why (status 503)."""
    from indexd.api.status_report import readiness

    return readiness(context.store, context.daemon)


@operation("GET", "/metrics", media_type="text/plain; version=0.0.4; charset=utf-8")
def metrics(context: OperationContext, _: NoParameters) -> str:
    """Report metrics in the text format of Prometheus."""
    from indexd.api.metrics import render_metrics

    return render_metrics(context.store, context.config, context.daemon)


@operation("GET", "/v1/events", timeout_seconds=EVENTS_TIMEOUT_SECONDS, media_type="text/event-stream")
def events(context: OperationContext, request: EventsRequest) -> EventStream:
    """Stream changes of images, annotations, jobs and status as server-sent events."""
    daemon = context.require_daemon("the event stream")
    if daemon.events is None:
        raise IndexdError("this daemon records no events")
    return daemon.events.open(request.last_event_id)


@operation("GET", "/v1/status")
def status(context: OperationContext, _: NoParameters) -> DaemonStatus:
    """Show the status of the daemon, its queues, models and watched folders."""
    from indexd.api import status_report

    return status_report.status(context.store, context.config, context.daemon)
