"""What is told for monitoring: its form is that of Prometheus, its numbers are those of the index."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from indexd.api.context import DaemonContext
from indexd.api.local import LocalOperations
from indexd.api.metrics import PrometheusWriter, resident_bytes
from indexd.api.operations.status import metrics, ready
from indexd.config import Config, read_config
from indexd.liveness import Liveness
from indexd.store.records import ItemOutput, NewJob, NewJobItem
from indexd.store.sqlite.store import SqliteStore
from tests.support.sample_library import SampleLibrary, make_library
from tests.unit.api.test_local_operations import Desk, Watching, Working

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (-?[0-9.e+-]+|NaN|[+-]Inf)')


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def config(short_home: Path) -> Config:
    return read_config(short_home)


@pytest.fixture
def library(config: Config) -> Iterator[SampleLibrary]:
    with SqliteStore.open(config.paths.index) as store:
        yield make_library(store, config.paths.home / "pictures", images_per_subject=1)


def samples(text: str) -> dict[str, float]:
    """Every line, checked against the format: described families, each in one piece, names and labels well formed."""
    found: dict[str, float] = {}
    family, families = "", set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in families
            families.add(family)
        elif line.startswith("# TYPE "):
            kind = line.split()[3]
            assert line.split()[2] == family
            assert (kind == "counter") == family.endswith("_total")
        else:
            match = LINE.fullmatch(line)
            assert match is not None, line
            assert match[1].removesuffix("_sum").removesuffix("_count") == family
            key = line.rpartition(" ")[0]
            assert key not in found
            found[key] = float(match[3])
    return found


def test_the_numbers_of_the_index_without_a_daemon(config: Config, library: SampleLibrary) -> None:
    library.add("waits.png", stages=("clip_h",))
    jobs = library.store.jobs
    row = jobs.admit(NewJob("x", "txt2img", b"", "k", None, 0, tuple(_item(number) for number in range(3))))
    items = jobs.items(row.id)
    jobs.mark_published(items[0].id, ItemOutput(b"/out/0.png", b"h" * 32, 2.5))
    jobs.mark_published(items[1].id, ItemOutput(b"/out/1.png", b"i" * 32, 4.0))
    library.store.events.add("worker_died", "signal 9")
    told = samples(LocalOperations(config, library.store).call(metrics))
    assert told["indexd_images"] == 5
    assert told['indexd_files{state="present"}'] == 5
    assert told['indexd_index_tasks{stage="clip_h",state="pending"}'] == 1
    assert told['indexd_index_task_oldest_age_seconds{stage="clip_h"}'] > 0
    assert told['indexd_jobs{state="queued"}'] == 1
    assert told['indexd_job_items{state="done"}'] == 2
    assert told["indexd_render_seconds_sum"] == 6.5
    assert told["indexd_render_seconds_count"] == 2
    assert told['indexd_events{kind="worker_died"}'] == 1
    assert told["indexd_job_queue_paused"] == 0
    assert not any(name.startswith(("indexd_worker", "indexd_start")) for name in told)


def _item(number: int) -> NewJobItem:
    return NewJobItem(number, number, b"/out/%d.png" % number, {"seed": number})


def test_the_numbers_of_the_daemon(config: Config, library: SampleLibrary) -> None:
    clock = Clock()
    pulse = Liveness("jobs", clock=clock)
    pulse.check_overdue()
    clock.now += 7
    live = DaemonContext(Watching(b'/pi"c\n\\'), Working(), Desk(library.store), 1.5, thread_liveness=lambda: [pulse])
    told = samples(LocalOperations(config, library.store, live).call(metrics))
    assert told["indexd_start_time_seconds"] == 1.5
    assert told['indexd_thread_silent_seconds{thread="jobs"}'] == 7
    assert told['indexd_worker_up{lane="gpu"}'] == 1
    assert told['indexd_worker_calls{lane="gpu",state="waiting"}'] == 2
    assert told['indexd_worker_calls{lane="gpu",state="running"}'] == 0
    assert told['indexd_worker_deaths_total{lane="gpu"}'] == 1
    assert told['indexd_worker_model_idle_seconds{lane="gpu",role="generator"}'] == 3
    assert told['indexd_root_online{path="/pi\\"c\\n\\\\",purpose="images"}'] == 1
    assert told['indexd_root_lost_events_total{path="/pi\\"c\\n\\\\"}'] == 4


def test_memory_of_a_process() -> None:
    assert resident_bytes(2**22 + 1) is None
    held = resident_bytes(os.getpid())
    if sys.platform != "win32" and Path("/proc/self/statm").exists():
        assert held is not None
        assert 5 << 20 < held < 1 << 40
    else:
        assert held is None


def test_odd_numbers() -> None:
    out = PrometheusWriter()
    out.family("x", "gauge", "a\nb")
    for value in (float("nan"), float("inf"), -1.0, 0.1, 2.0**60):
        out.sample("x", value)
    assert out.text().splitlines()[0] == "# HELP x a\\nb"
    assert out.text().splitlines()[2:] == ["x NaN", "x +Inf", "x -1", "x 0.1", "x 1.152921504606847e+18"]


def test_ready_means_compared_and_moving(
    config: Config, library: SampleLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    pulse = Liveness("recording", clock=clock, limit_seconds=10)
    watching = Watching(b"/pictures")
    live = DaemonContext(watching, Working(), Desk(library.store), 1.0, thread_liveness=lambda: [pulse])
    operations = LocalOperations(config, library.store, live)
    assert operations.call(ready).ready
    pulse.check_overdue()
    clock.now += 11
    assert operations.call(ready).reasons == ["recording has made no progress for 11 s"]
    pulse.beat()
    assert operations.call(ready).ready
    fresh = [replace(root, last_reconcile=None) for root in watching.status()]
    monkeypatch.setattr(watching, "status", lambda: fresh)
    assert operations.call(ready).reasons == ["/pictures was not scanned yet"]
    offline = [replace(root, online=False, identity=None) for root in fresh]
    monkeypatch.setattr(watching, "status", lambda: offline)
    assert operations.call(ready).ready
    assert not LocalOperations(config, library.store).call(ready).ready
