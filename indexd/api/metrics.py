"""The metrics of `GET /metrics` and `indexd metrics`. Names follow "Metric and label naming" in the documentation of Prometheus.

docs/monitoring.md describes them. No metric contains the name of an image, a prompt or a job.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from indexd.api.context import DaemonContext
from indexd.api.status_report import status
from indexd.config import Config
from indexd.store.protocols import IndexStore
from indexd.store.records import IndexMetrics
from indexd_schemas.api.output import DaemonStatus
from indexd_schemas.job_state import JobState


def render_metrics(
    store: IndexStore, config: Config, context: DaemonContext | None, clock: Callable[[], float] = time.time
) -> str:
    """All metrics as text. Without a daemon only those of the index."""
    out, now, gauges = PrometheusWriter(), status(store, config, context), store.metrics.snapshot()
    out.family("indexd_build_info", "gauge", "The running version; always 1.")
    out.sample("indexd_build_info", 1, {"version": now.version, "python": platform.python_version()})
    _index_metrics(out, now, gauges)
    _index_task_metrics(out, now, gauges, clock())
    _job_metrics(out, now, gauges, clock())
    _root_metrics(out, now)
    out.family("indexd_model_role_on", "gauge", "1 while a role has a usable model.")
    for role in now.roles:
        out.sample("indexd_model_role_on", role.on, {"role": role.role})
    out.family("indexd_events", "gauge", "Recorded events by kind, among the newest 10000.")
    for kind, count in sorted(gauges.events.items()):
        out.sample("indexd_events", count, {"kind": kind})
    if context is not None:
        _process_metrics(out, now, context)
    return out.text()


def _index_metrics(out: PrometheusWriter, status_now: DaemonStatus, gauges: IndexMetrics) -> None:
    out.family("indexd_images", "gauge", "Images in the index, by content.")
    out.sample("indexd_images", status_now.images)
    out.family("indexd_files", "gauge", "Files: present (including unreadable ones), missing, unreadable.")
    out.sample("indexd_files", status_now.files, {"state": "present"})
    out.sample("indexd_files", status_now.missing_files, {"state": "missing"})
    out.sample("indexd_files", gauges.unreadable_files, {"state": "unreadable"})
    out.family("indexd_index_size_bytes", "gauge", "Size of the index with its write-ahead log.")
    out.sample("indexd_index_size_bytes", status_now.index_bytes)


def _index_task_metrics(
    out: PrometheusWriter, status_now: DaemonStatus, gauges: IndexMetrics, now_seconds: float
) -> None:
    out.family(
        "indexd_index_tasks", "gauge", "Open index tasks by stage; blocked = the image has no file at the moment."
    )
    for stage, states in sorted(status_now.pending.items()):
        for state in ("pending", "running", "failed", "blocked"):
            out.sample("indexd_index_tasks", states.get(state, 0), {"stage": stage, "state": state})
    out.family("indexd_index_task_oldest_age_seconds", "gauge", "Age of the oldest image with a pending task.")
    for stage, since in sorted(gauges.oldest_task_at_by_stage.items()):
        out.sample("indexd_index_task_oldest_age_seconds", max(0.0, now_seconds - since), {"stage": stage})


def _job_metrics(out: PrometheusWriter, status_now: DaemonStatus, gauges: IndexMetrics, now_seconds: float) -> None:
    out.family("indexd_jobs", "gauge", "Jobs in the ledger.")
    for state in JobState:
        out.sample("indexd_jobs", status_now.jobs.get(state, 0), {"state": state})
    out.family("indexd_job_items", "gauge", "Job items in the ledger.")
    for state in JobState:
        out.sample("indexd_job_items", gauges.job_items_by_state.get(state, 0), {"state": state})
    out.family("indexd_job_oldest_age_seconds", "gauge", "Age of the oldest unfinished job; 0 = none.")
    out.sample(
        "indexd_job_oldest_age_seconds",
        max(0.0, now_seconds - gauges.oldest_open_job_at) if gauges.oldest_open_job_at else 0,
    )
    out.family("indexd_job_queue_paused", "gauge", "1 while the queue is paused.")
    out.sample("indexd_job_queue_paused", status_now.queue_paused is not None)
    # The ledger keeps every item, so both counters continue across restarts.
    out.family("indexd_render_seconds", "summary", "Duration of published renders.")
    out.sample("indexd_render_seconds_sum", gauges.render_seconds)
    out.sample("indexd_render_seconds_count", gauges.renders)


def _root_metrics(out: PrometheusWriter, status_now: DaemonStatus) -> None:
    out.family("indexd_root_online", "gauge", "1 while the watched folder is online.")
    for root in status_now.roots:
        out.sample("indexd_root_online", root.online, {"path": root.path, "purpose": root.purpose})
    if not status_now.running:
        return
    out.family("indexd_root_pending_files", "gauge", "Files that are new or still being written.")
    for root in status_now.roots:
        out.sample("indexd_root_pending_files", root.pending, {"path": root.path})
    out.family("indexd_root_lost_events_total", "counter", "Files that a scan found without an event.")
    for root in status_now.roots:
        out.sample("indexd_root_lost_events_total", root.lost_events, {"path": root.path})
    out.family("indexd_root_last_reconcile_timestamp_seconds", "gauge", "Time of the last full comparison.")
    for root in status_now.roots:
        if root.last_reconcile is not None:
            out.sample("indexd_root_last_reconcile_timestamp_seconds", root.last_reconcile, {"path": root.path})


def _process_metrics(out: PrometheusWriter, status_now: DaemonStatus, context: DaemonContext) -> None:
    out.family("indexd_start_time_seconds", "gauge", "Start time of the daemon, since the epoch.")
    out.sample("indexd_start_time_seconds", context.started_at)
    out.family("indexd_thread_silent_seconds", "gauge", "How long a queue thread has been overdue.")
    for liveness in context.thread_liveness():
        out.sample("indexd_thread_silent_seconds", liveness.overdue_seconds(), {"thread": liveness.name})
    out.family("indexd_worker_up", "gauge", "1 while the worker process runs; it ends when idle.")
    for worker in status_now.workers:
        out.sample("indexd_worker_up", worker.alive, {"lane": worker.lane})
    out.family("indexd_worker_deaths_total", "counter", "Worker processes that died.")
    for worker in status_now.workers:
        out.sample("indexd_worker_deaths_total", worker.deaths, {"lane": worker.lane})
    out.family("indexd_worker_calls", "gauge", "Calls in the worker.")
    for worker in status_now.workers:
        out.sample("indexd_worker_calls", worker.running, {"lane": worker.lane, "state": "running"})
        out.sample("indexd_worker_calls", worker.queued, {"lane": worker.lane, "state": "waiting"})
    out.family("indexd_worker_model_idle_seconds", "gauge", "Idle time of each loaded model.")
    for worker in status_now.workers:
        for role, seconds in worker.models.items():
            out.sample("indexd_worker_model_idle_seconds", seconds, {"lane": worker.lane, "role": role})
    out.family("indexd_resident_memory_bytes", "gauge", "Resident memory of the processes (Linux only).")
    processes = {"daemon": os.getpid()} | {
        worker.lane: worker.pid for worker in status_now.workers if worker.pid is not None
    }
    for name, pid in processes.items():
        resident = resident_bytes(pid)
        if resident is not None:
            out.sample("indexd_resident_memory_bytes", resident, {"process": name})


# Prometheus' text format, version 0.0.4; see "Exposition formats" in the documentation of Prometheus.

_NO_LABELS: Mapping[str, str] = {}


class PrometheusWriter:
    """Writes metric families: one description, then its samples."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: Literal["gauge", "counter", "summary"], text: str) -> None:
        """Begin a family. `name` ends with the base unit; that of a counter ends with `_total`."""
        self._lines += [f"# HELP {name} {_escape_help(text)}", f"# TYPE {name} {kind}"]

    def sample(self, name: str, value: float, labels: Mapping[str, str] = _NO_LABELS) -> None:
        """One value of the current family."""
        pairs = ",".join(f'{key}="{_escape_label(label)}"' for key, label in labels.items())
        self._lines.append(f"{name}{{{pairs}}} {_format_number(value)}" if pairs else f"{name} {_format_number(value)}")

    def text(self) -> str:
        """The whole text, with the final line end that the format requires."""
        return "\n".join(self._lines) + "\n"


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escape_label(text: str) -> str:
    return _escape_help(text).replace('"', '\\"')


def _format_number(value: float) -> str:
    if math.isfinite(value):
        return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def resident_bytes(pid: int) -> int | None:
    """The resident set of a process; None when it ended, or on systems without /proc."""
    if sys.platform == "win32":
        return None
    try:
        # proc(5): size and resident, in pages.
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
