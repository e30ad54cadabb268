"""What `GET /metrics` and `indexd metrics` tell. Names follow "Metric and label naming" in the documentation of Prometheus.

docs/monitoring.md says what to watch for. Names of pictures, prompts and jobs are in none of it.
"""

from __future__ import annotations

import math
import os
import platform
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

JOB_STATES = ("queued", "running", "done", "failed", "cancelled")


def render_metrics(
    store: IndexStore, config: Config, context: DaemonContext | None, clock: Callable[[], float] = time.time
) -> str:
    """All of it, as text. Without a daemon the live parts are left out."""
    out, now, gauges = PrometheusWriter(), status(store, config, context), store.metrics.snapshot()
    out.family("indexd_build_info", "gauge", "The version that runs; always 1.")
    out.sample("indexd_build_info", 1, {"version": now.version, "python": platform.python_version()})
    _index_metrics(out, now, gauges)
    _index_task_metrics(out, now, gauges, clock())
    _job_metrics(out, now, gauges, clock())
    _root_metrics(out, now)
    out.family("indexd_role_on", "gauge", "1 where a model fills the role and could be loaded.")
    for role in now.roles:
        out.sample("indexd_role_on", role.on, {"role": role.role})
    out.family("indexd_events", "gauge", "What was noticed, by kind; the newest 10000 are kept.")
    for kind, count in sorted(gauges.events.items()):
        out.sample("indexd_events", count, {"kind": kind})
    if context is not None:
        _process_metrics(out, now, context)
    return out.text()


def _index_metrics(out: PrometheusWriter, status_now: DaemonStatus, gauges: IndexMetrics) -> None:
    out.family("indexd_images", "gauge", "Pictures in the index, by content.")
    out.sample("indexd_images", status_now.images)
    out.family("indexd_files", "gauge", "Files: present (unreadable ones too), missing, unreadable.")
    out.sample("indexd_files", status_now.files, {"state": "present"})
    out.sample("indexd_files", status_now.missing_files, {"state": "missing"})
    out.sample("indexd_files", gauges.unreadable_files, {"state": "unreadable"})
    out.family("indexd_index_size_bytes", "gauge", "The index with its write-ahead log.")
    out.sample("indexd_index_size_bytes", status_now.index_bytes)


def _index_task_metrics(
    out: PrometheusWriter, status_now: DaemonStatus, gauges: IndexMetrics, now_seconds: float
) -> None:
    out.family(
        "indexd_work_items", "gauge", "Work on pictures that is not done, by stage; failed = set aside, away = no file."
    )
    for stage, states in sorted(status_now.pending.items()):
        for state in ("pending", "running", "failed", "blocked"):
            out.sample("indexd_work_items", states.get(state, 0), {"stage": stage, "state": state})
    out.family("indexd_work_oldest_age_seconds", "gauge", "How long the oldest picture that waits is in the index.")
    for stage, since in sorted(gauges.oldest_task_at_by_stage.items()):
        out.sample("indexd_work_oldest_age_seconds", max(0.0, now_seconds - since), {"stage": stage})


def _job_metrics(out: PrometheusWriter, status_now: DaemonStatus, gauges: IndexMetrics, now_seconds: float) -> None:
    out.family("indexd_jobs", "gauge", "Jobs in the ledger.")
    for state in JOB_STATES:
        out.sample("indexd_jobs", status_now.jobs.get(state, 0), {"state": state})
    out.family("indexd_job_pictures", "gauge", "Pictures of jobs in the ledger.")
    for state in JOB_STATES:
        out.sample("indexd_job_pictures", gauges.job_items_by_state.get(state, 0), {"state": state})
    out.family("indexd_job_oldest_age_seconds", "gauge", "How long the oldest unfinished job has been there; 0 = none.")
    out.sample(
        "indexd_job_oldest_age_seconds",
        max(0.0, now_seconds - gauges.oldest_open_job_at) if gauges.oldest_open_job_at else 0,
    )
    out.family("indexd_job_queue_paused", "gauge", "1 while the queue waits for a cause to be cured.")
    out.sample("indexd_job_queue_paused", status_now.queue_paused is not None)
    # The ledger forgets nothing, so both go on counting over restarts.
    out.family("indexd_render_seconds", "summary", "Time of the renders that were published.")
    out.sample("indexd_render_seconds_sum", gauges.render_seconds)
    out.sample("indexd_render_seconds_count", gauges.renders)


def _root_metrics(out: PrometheusWriter, status_now: DaemonStatus) -> None:
    out.family("indexd_root_online", "gauge", "1 where the watched folder is there.")
    for root in status_now.roots:
        out.sample("indexd_root_online", root.online, {"path": root.path, "purpose": root.purpose})
    if not status_now.running:
        return
    out.family("indexd_root_pending_files", "gauge", "Files that are still being written or were just seen.")
    for root in status_now.roots:
        out.sample("indexd_root_pending_files", root.pending, {"path": root.path})
    out.family("indexd_root_lost_events_total", "counter", "Files that a scan found and an event should have told of.")
    for root in status_now.roots:
        out.sample("indexd_root_lost_events_total", root.lost_events, {"path": root.path})
    out.family("indexd_root_last_reconcile_timestamp_seconds", "gauge", "When the folder was last compared whole.")
    for root in status_now.roots:
        if root.last_reconcile is not None:
            out.sample("indexd_root_last_reconcile_timestamp_seconds", root.last_reconcile, {"path": root.path})


def _process_metrics(out: PrometheusWriter, status_now: DaemonStatus, context: DaemonContext) -> None:
    out.family("indexd_start_time_seconds", "gauge", "When the daemon started, since the epoch.")
    out.sample("indexd_start_time_seconds", context.started_at)
    out.family("indexd_thread_silent_seconds", "gauge", "How long a thread that moves a queue owes a sign of life.")
    for pulse in context.thread_liveness():
        out.sample("indexd_thread_silent_seconds", pulse.overdue_seconds(), {"thread": pulse.name})
    out.family("indexd_worker_up", "gauge", "1 while the worker's process is there; it goes when it is idle.")
    for worker in status_now.workers:
        out.sample("indexd_worker_up", worker.alive, {"lane": worker.lane})
    out.family("indexd_worker_deaths_total", "counter", "Processes of the worker that died.")
    for worker in status_now.workers:
        out.sample("indexd_worker_deaths_total", worker.deaths, {"lane": worker.lane})
    out.family("indexd_worker_calls", "gauge", "Calls in the worker.")
    for worker in status_now.workers:
        out.sample("indexd_worker_calls", worker.running, {"lane": worker.lane, "state": "running"})
        out.sample("indexd_worker_calls", worker.queued, {"lane": worker.lane, "state": "waiting"})
    out.family(
        "indexd_worker_model_idle_seconds", "gauge", "The models that are loaded, and how long each was not used."
    )
    for worker in status_now.workers:
        for role, seconds in worker.models.items():
            out.sample("indexd_worker_model_idle_seconds", seconds, {"lane": worker.lane, "role": role})
    out.family("indexd_resident_memory_bytes", "gauge", "Memory of the processes (Linux only).")
    processes = {"daemon": os.getpid()} | {
        worker.lane: worker.pid for worker in status_now.workers if worker.pid is not None
    }
    for name, pid in processes.items():
        held = resident_bytes(pid)
        if held is not None:
            out.sample("indexd_resident_memory_bytes", held, {"process": name})


# Prometheus' text format, version 0.0.4; see "Exposition formats" in the documentation of Prometheus.

PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NO_LABELS: Mapping[str, str] = {}


class PrometheusWriter:
    """Collects families of samples; a family is described once and its samples follow it."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: Literal["gauge", "counter", "summary"], text: str) -> None:
        """Begin a family. `name` has the base unit last, and of a counter `_total`."""
        self._lines += [f"# HELP {name} {_escape_help(text)}", f"# TYPE {name} {kind}"]

    def sample(self, name: str, value: float, labels: Mapping[str, str] = _NO_LABELS) -> None:
        """One value of the family begun last."""
        pairs = ",".join(f'{key}="{_escape_label(label)}"' for key, label in labels.items())
        self._lines.append(f"{name}{{{pairs}}} {_format_number(value)}" if pairs else f"{name} {_format_number(value)}")

    def text(self) -> str:
        """The whole, with the line end that the format asks for."""
        return "\n".join(self._lines) + "\n"


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escape_label(text: str) -> str:
    return _escape_help(text).replace('"', '\\"')


def _format_number(value: float) -> str:
    if math.isfinite(value):
        return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


# How much memory a process holds.


def resident_bytes(pid: int) -> int | None:
    """The resident set of a process; None where the system does not say (only Linux has /proc) or it is gone."""
    try:
        # proc(5): size and resident, in pages.
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
