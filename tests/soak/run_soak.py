"""Everything at once, for as long as one likes: `make soak`, or `python -m tests.soak.run_soak --minutes 60 --seed 7`.

Pictures come, move and go, jobs are dropped, ratings are given and faces clustered while faults are injected at random:
kills, frozen processes, full and slow and failing disks, no descriptors, clocks that jump, folders that vanish. At the end
everything is mended, the daemon becomes idle, and ledger, folders and index must agree; memory and handles must be flat.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from blake3 import blake3

from indexd.api.connect import connect
from indexd.api.operations import annotation, characters, jobs, library
from indexd.config import read_config
from indexd.demo.daemon_process import DaemonProcess, is_settled
from indexd.errors import IndexdError
from indexd.search.query.image_target import ImageTarget, format_target
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.characters import ClusterRequest
from indexd_schemas.api.requests import JobListRequest, JobSelector, RateRequest, ScanRequest
from tests.faults.agreement import disagreements
from tests.faults.instant import POISON, make_home
from tests.faults.shim import Shim
from tests.system.loop.pictures import picture, write

if sys.platform != "linux":
    raise SystemExit("the soak injects faults with Linux system calls")

CHARACTERS = ("anna", "berta", "carla", "dora")
SETTLE_SECONDS = 900.0
START_SECONDS = 300.0
# A daemon that began a moment ago takes 10 MB more once everything has run, and the level swings by 5 MB from minute to minute.
MAX_MEMORY_GROWTH_BYTES = 24 << 20
MAX_HANDLE_GROWTH = 24
MIN_INDEXED_IMAGES = 20
READY_LINE = " process_lifecycle: ready: "
# A sentence of ours; or of Python itself, which needs file handles before it can import anything of ours.
START_REFUSED_PATTERN = re.compile(r"^indexd: |Too many open files|^ImportError", re.MULTILINE)
JOB = (
    "kind: txt2img\nprompt: {prompt} {number}\nseed: {number}\ncount: {count}\nsize: 64x64\nsteps: 3\nsampler: Euler\n"
)


@dataclass
class SoakReport:
    """What was done and what came of it."""

    seed: int
    minutes: float
    faults: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    failed_calls: int = 0
    losses: list[str] = field(default_factory=list)
    refused_starts: list[str] = field(
        default_factory=list
    )  # a start that was refused; of a daemon that was ready it is a loss
    pictures: int = 0
    jobs: dict[str, int] = field(default_factory=dict)
    memory_mb: tuple[float, float] = (0.0, 0.0)
    handles: tuple[int, int] = (0, 0)

    def text(self) -> str:
        """For people and for docs/reliability.md."""
        return json.dumps(
            {
                "seed": self.seed,
                "minutes": self.minutes,
                "faults": dict(self.faults.most_common()),
                "faults in all": sum(self.faults.values()),
                "calls of the system that failed on order": self.failed_calls,
                "did": dict(self.actions.most_common()),
                "pictures at the end": self.pictures,
                "jobs at the end": self.jobs,
                "memory MB, first and last of the calm": self.memory_mb,
                "handles, first and last of the calm": self.handles,
                "starts that were refused": self.refused_starts,
                "losses": self.losses,
            },
            indent=2,
        )


class Soak:
    """One run. The first two thirds see every fault; in the last the daemon is not killed, so that growth would show."""

    def __init__(self, folder: Path, seed: int, minutes: float) -> None:
        self.home = make_home(folder)
        self.pictures = self.home / "pictures"
        self.rng = random.Random(seed)
        self.shim = Shim(folder)
        self.daemon = DaemonProcess(self.home, self.shim.environment, "tests.faults.instant")
        self.report = SoakReport(seed, minutes)
        self._numbers = iter(range(1_000_000))
        self._ratings: dict[bytes, int] = {}
        self._repairs: list[Callable[[], None]] = []
        self._kills_left = True
        self._usage: list[tuple[int, int]] = []
        # Each deed and each fault with how often it is drawn.
        self._actions: dict[Callable[[], None], int] = {
            self._add_images: 10, self._drop_job: 5, self._rate: 5, self._move_image: 2, self._remove_image: 1, self._cluster: 1,
            self._drop_invalid_job: 1, self._drop_crashing_job: 1,
        }  # fmt: skip
        self._faults: dict[Callable[[], None], int] = {
            self._kill_daemon: 3, self._kill_worker: 4, self._freeze: 2, self._fill_disk: 3, self._make_image_unreadable: 2, self._slow_disk: 2,
            self._exhaust_handles: 2, self._jump_clock: 2, self._unmount_root: 2, self._replace_root: 2, self._break_settings: 1,
            self._lock_index: 1, self._start_second_daemon: 1, self._overflow_events: 1,
        }  # fmt: skip

    def run(self) -> SoakReport:
        """Everything, until the time is up; then the reckoning."""
        began = time.monotonic()
        end = began + 60 * self.report.minutes
        calm = began + 40 * self.report.minutes
        self.daemon.start(START_SECONDS)
        try:
            # An empty index cannot tell the library from a foreign folder: it has to know something of it first.
            while len(list(self.pictures.rglob("*.png"))) < MIN_INDEXED_IMAGES:
                self._add_images()
            self.daemon.wait_until("the library", lambda status: status.images >= MIN_INDEXED_IMAGES, START_SECONDS)
            while time.monotonic() < end:
                self._kills_left = time.monotonic() < calm
                for _ in range(self.rng.randrange(2, 8)):
                    self._choose(self._actions)()
                self._choose(self._faults)()
                time.sleep(self.rng.uniform(0.2, 2.0))
                for _ in range(self.rng.randrange(3)):
                    self._choose(self._actions)()
                self._repair_all()
                self._restart_daemon_if_ended()
                if not self._kills_left:
                    self._record_usage()
            self._wait_until_done()
        finally:
            self._repair_all()
            self.daemon.stop(120.0)
        self._check_result()
        return self.report

    def _choose(self, table: dict[Callable[[], None], int]) -> Callable[[], None]:
        return self.rng.choices(list(table), list(table.values()))[0]

    def _record_fault(self, name: str, mend: Callable[[], None] | None = None) -> None:
        self.report.faults[name] += 1
        if mend is not None:
            self._repairs.append(mend)

    def _repair_all(self) -> None:
        while self._repairs:
            self._repairs.pop()()
        self.shim.mend()

    def _restart_daemon_if_ended(self) -> None:
        """As a service manager does: a daemon that ended is started again.

        A start may be refused by what goes wrong in that moment, with one sentence. Whoever was ready ends for nothing.
        """
        if not psutil.pid_exists(self.daemon.pid) or psutil.Process(self.daemon.pid).status() == psutil.STATUS_ZOMBIE:
            said, end = self.daemon.log_output(), self.daemon.exit_report()
            self.report.refused_starts.append(end)
            if READY_LINE in said or not START_REFUSED_PATTERN.search(said):
                self.report.losses.append(f"the daemon ended of its own accord: {end}")
            self._usage.clear()
            self.daemon.kill()
            self.daemon.start(START_SECONDS)

    # What users do.

    def _add_images(self) -> None:
        for _ in range(self.rng.randrange(1, 6)):
            number = next(self._numbers)
            content = picture(number, self.rng.choice(("a red cat", "a house", "the sea")))
            # The folder may be away or a stranger's at this moment; then nobody can write there.
            with contextlib.suppress(OSError):
                if not self._repairs:
                    write(self.pictures / f"d{number % 7}", f"{self.rng.choice(CHARACTERS)}-{number}.png", content)
                    self.report.actions["pictures"] += 1

    def _drop_job(self, prompt: str = "a cat") -> None:
        number = next(self._numbers)
        draft = self.home / "draft"
        draft.write_text(JOB.format(number=number, prompt=prompt, count=1 if prompt == POISON else 2), "utf-8")
        draft.rename(self.home / "inbox" / f"job{number}.yaml")
        self.report.actions["jobs"] += 1

    def _drop_crashing_job(self) -> None:
        self._drop_job(POISON)

    def _drop_invalid_job(self) -> None:
        number = next(self._numbers)
        (self.home / "inbox" / f"bad{number}.yaml").write_text("kind: txt2img\nstepps: 3\n", "utf-8")
        self.report.actions["files that are no jobs"] += 1

    def _rate(self) -> None:
        there = sorted(self.pictures.rglob("*.png"))
        if not there or self._repairs:
            return
        path, value = self.rng.choice(there), self.rng.randrange(1, 6)
        content = blake3(path.read_bytes()).digest()
        target = format_target(ImageTarget(path=os.fsencode(path)))
        request = RateRequest(targets=(target,), rating=value)
        with contextlib.suppress(IndexdError):
            remote = connect(read_config(self.home), need_daemon=True)
            try:
                changed = remote.call(annotation.rate, request).changed
            finally:
                remote.close()
            if changed:  # a picture of this moment may not be indexed yet
                self._ratings[content] = value
                self.report.actions["ratings acknowledged"] += 1

    def _move_image(self) -> None:
        there = sorted(self.pictures.rglob("*.png"))
        if there and not self._repairs:
            path = self.rng.choice(there)
            (self.pictures / "moved").mkdir(exist_ok=True)
            path.rename(self.pictures / "moved" / path.name)
            self.report.actions["moves"] += 1

    def _remove_image(self) -> None:
        there = sorted(self.pictures.rglob("*.png"))
        if there and not self._repairs:
            self.rng.choice(there).unlink()
            self.report.actions["removals"] += 1

    def _cluster(self) -> None:
        if self._repairs:  # who asks a frozen daemon waits with it
            return
        with contextlib.suppress(IndexdError):
            remote = connect(read_config(self.home), need_daemon=True)
            try:
                remote.call(characters.cluster, ClusterRequest(action="start"))
            finally:
                remote.close()
            self.report.actions["clusterings"] += 1

    # What goes wrong.

    def _kill_daemon(self) -> None:
        if self._kills_left:
            self._record_fault("daemon killed")
            self.daemon.kill()
            self._usage.clear()
            self.daemon.launch()
            if self.rng.random() < 0.7:
                self.daemon.wait_until("an answer", lambda _status: True, START_SECONDS)

    def _kill_worker(self) -> None:
        with contextlib.suppress(psutil.Error):
            if workers := psutil.Process(self.daemon.pid).children():
                self.rng.choice(workers).kill()
                self._record_fault("worker killed")

    def _freeze(self) -> None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.daemon.pid)
            frozen = self.rng.choice([process, *process.children()])
            frozen.suspend()

            def thaw() -> None:
                with contextlib.suppress(psutil.Error):
                    frozen.resume()

            self._record_fault("process frozen", thaw)

    def _fill_disk(self) -> None:
        self.shim.full(self.rng.choice(("/index.db", "/output", "/inbox", "/thumbnails")))
        self._record_fault("disk full")

    def _make_image_unreadable(self) -> None:
        there = sorted(self.pictures.rglob("*.png"))
        if there and not self._repairs:
            self.shim.order(f"/{self.rng.choice(there).name}", read=errno.EIO)
            self._record_fault("picture cannot be read (EIO)")

    def _slow_disk(self) -> None:
        self.shim.order(str(self.home), slow_ms=self.rng.choice((5, 50)))
        self._record_fault("disk slow")

    def _exhaust_handles(self) -> None:
        with contextlib.suppress(psutil.Error, OSError):
            pid = self.daemon.pid
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (psutil.Process(pid).num_fds() + 1, before[1]))

            def give_back() -> None:
                with contextlib.suppress(OSError):
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

            self._record_fault("no file handles left", give_back)

    def _jump_clock(self) -> None:
        self.shim.order(clock=self.rng.choice((-86_400, -3_600, 3_600, 90_000)))
        self._record_fault("clock jumped")

    def _unmount_root(self) -> None:
        self._take_root("folder unmounted", lambda: None)

    def _replace_root(self) -> None:
        def put_another() -> None:
            self.pictures.mkdir()
            for number in range(self.rng.choice((0, 3, 400))):
                write(self.pictures, f"foreign-{number}.png", picture(2_000_000 + number))

        self._take_root("folder replaced", put_another)

    def _take_root(self, name: str, then: Callable[[], None]) -> None:
        away, other = self.home / "away", self.home / "other"
        if self._repairs:
            return
        self.pictures.rename(away)
        then()

        def put_back() -> None:
            # At once, as a disk is unmounted and another mounted; nobody waits until the other is empty.
            if self.pictures.exists():
                self.pictures.rename(other)
            away.rename(self.pictures)
            shutil.rmtree(other, ignore_errors=True)

        self._record_fault(name, put_back)

    def _break_settings(self) -> None:
        # A manager asks nobody for a reload who is not ready.
        if READY_LINE not in self.daemon.log_output():
            return
        file = self.home / "indexd.toml"
        good = file.read_text("utf-8")
        file.write_text(good + "\n[wacth]\n", "utf-8")
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.daemon.pid, signal.SIGHUP)
            time.sleep(0.5)
        self._record_fault("settings broken at reload", lambda: _write(file, good))

    def _lock_index(self) -> None:
        """A foreign program holds the write lock of the index."""
        import apsw

        with contextlib.suppress(apsw.Error):
            foreign = apsw.Connection(str(read_config(self.home).paths.index), flags=apsw.SQLITE_OPEN_READWRITE)
            foreign.set_busy_timeout(3000)
            try:
                foreign.execute("BEGIN IMMEDIATE")
            except apsw.Error:
                foreign.close()
                raise
            self._record_fault("index locked by a stranger", foreign.close)

    def _start_second_daemon(self) -> None:
        if self.daemon.status() is None:
            return
        second = DaemonProcess(self.home, None, "tests.faults.instant")
        second.launch()
        self._record_fault("second daemon")
        if second.wait(START_SECONDS) == 0:
            self.report.losses.append("a second daemon ran beside the first")

    def _overflow_events(self) -> None:
        """More events than the kernel keeps come at once, while nobody reads them."""
        if self._repairs:
            return
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.daemon.pid)
            process.suspend()
            try:
                for number in range(9000):
                    path = self.pictures / f"burst-{number}.tmp"
                    path.touch()
                    path.unlink()
            finally:
                process.resume()
            self._record_fault("event overflow")

    # What must hold.

    def _record_usage(self) -> None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.daemon.pid)
            self._usage.append((process.memory_info().rss, process.num_fds()))

    def _wait_until_done(self) -> None:
        self._repair_all()
        self._restart_daemon_if_ended()
        self.daemon.wait_until("an answer", lambda _status: True, START_SECONDS)
        remote = connect(read_config(self.home), need_daemon=True)
        with contextlib.suppress(IndexdError):
            remote.call(library.scan, ScanRequest(wait=True))
        status = self.daemon.wait_until("everything done", is_settled, SETTLE_SECONDS)
        # A worker that was killed three times with the same picture in hand has it set aside, and rightly so: it cannot
        # know who did it. What a person would do then is part of the test, and counted.
        for job in remote.call(jobs.list_jobs, JobListRequest(states=("failed",), limit=1000)).jobs:
            selector = JobSelector(which=str(job.id))
            if POISON not in remote.call(jobs.show_job, selector).source:
                remote.call(jobs.retry_job, selector)
                self.report.actions["jobs retried by hand"] += 1
        remote.close()
        if self.report.actions["jobs retried by hand"]:
            status = self.daemon.wait_until("everything done", is_settled, SETTLE_SECONDS)
        self.report.pictures, self.report.jobs = status.images, status.jobs
        self._record_usage()

    def _check_result(self) -> None:
        report = self.report
        report.failed_calls = self.shim.injected
        report.losses += disagreements(self.home)
        with SqliteStore.open(read_config(self.home).paths.index) as store:
            for content, value in self._ratings.items():
                image = store.images.get_by_hash(content)
                if image is None or image.rating != value:
                    report.losses.append(
                        f"rating {value} of {content.hex()[:8]} is {image.rating if image else 'gone'}"
                    )
        if len(self._usage) > 1:
            (memory, handles), (last_memory, last_handles) = self._usage[len(self._usage) // 4], self._usage[-1]
            report.memory_mb = (round(memory / 2**20, 1), round(last_memory / 2**20, 1))
            report.handles = (handles, last_handles)
            if last_memory > memory + MAX_MEMORY_GROWTH_BYTES or last_handles > handles + MAX_HANDLE_GROWTH:
                report.losses.append(f"memory or handles grew: {report.memory_mb} MB, {report.handles}")


def _write(file: Path, text: str) -> None:
    file.write_text(text, "utf-8")


def main() -> int:
    """Run a soak from the command line; 0 when nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="the same seed draws the same faults in the same order")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}", flush=True)  # noqa: T201
    folder = Path(tempfile.mkdtemp(prefix="indexd-soak-"))
    report = Soak(folder, seed, arguments.minutes).run()
    print(report.text())  # noqa: T201
    if not report.losses:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    print(f"the home is kept: {folder}", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
