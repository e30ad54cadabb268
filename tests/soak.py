"""Everything at once, for as long as one likes: `make soak`, or `python -m tests.soak --minutes 60 --seed 7`.

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
from indexd.config import load
from indexd.demo.daemon_process import DaemonProcess, settled
from indexd.errors import IndexdError
from indexd.search.targets import Target
from indexd.store.index import Store
from indexd_schemas.characters import ClusterRequest
from tests.e2e.pictures import picture, write
from tests.faults.agreement import disagreements
from tests.faults.instant import POISON, make_home
from tests.faults.shim import Shim

PEOPLE = ("anna", "berta", "carla", "dora")
SETTLE_SECONDS = 900.0
START_SECONDS = 300.0
# A daemon that began a moment ago takes 10 MB more once everything has run, and the level swings by 5 MB from minute to minute.
FLAT_BYTES = 24 << 20
FLAT_HANDLES = 24
ESTABLISHED = 20
READY = " serve: ready: "
# A sentence of ours; or of Python itself, which needs file handles before it can import anything of ours.
REFUSED = re.compile(r"^indexd: |Too many open files|^ImportError", re.MULTILINE)
JOB = (
    "kind: txt2img\nprompt: {prompt} {number}\nseed: {number}\ncount: {count}\nsize: 64x64\nsteps: 3\nsampler: Euler\n"
)


@dataclass
class Report:
    """What was done and what came of it."""

    seed: int
    minutes: float
    faults: Counter[str] = field(default_factory=Counter)
    did: Counter[str] = field(default_factory=Counter)
    failed_calls: int = 0
    losses: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)  # a start that was refused; of a daemon that was ready it is a loss
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
                "did": dict(self.did.most_common()),
                "pictures at the end": self.pictures,
                "jobs at the end": self.jobs,
                "memory MB, first and last of the calm": self.memory_mb,
                "handles, first and last of the calm": self.handles,
                "starts that were refused": self.ends,
                "losses": self.losses,
            },
            indent=2,
        )


class Soak:
    """One run. The first two thirds see every fault; in the last the daemon is not killed, so that growth would show."""

    def __init__(self, folder: Path, seed: int, minutes: float) -> None:
        self.home = make_home(folder)
        self.pictures = self.home / "pictures"
        self.chance = random.Random(seed)
        self.shim = Shim(folder)
        self.daemon = DaemonProcess(self.home, self.shim.environment, "tests.faults.instant")
        self.report = Report(seed, minutes)
        self._numbers = iter(range(1_000_000))
        self._ratings: dict[bytes, int] = {}
        self._mends: list[Callable[[], None]] = []
        self._kills_left = True
        self._grown: list[tuple[int, int]] = []
        # Each deed and each fault with how often it is drawn.
        self._deeds: dict[Callable[[], None], int] = {
            self._arrive: 10, self._drop_job: 5, self._rate: 5, self._move: 2, self._remove: 1, self._cluster: 1,
            self._drop_nonsense: 1, self._drop_poison: 1,
        }  # fmt: skip
        self._faults: dict[Callable[[], None], int] = {
            self._kill_daemon: 3, self._kill_worker: 4, self._freeze: 2, self._full: 3, self._eio: 2, self._slow: 2,
            self._no_handles: 2, self._clock: 2, self._root_away: 2, self._root_replaced: 2, self._bad_settings: 1,
            self._stranger: 1, self._second_daemon: 1, self._overflow: 1,
        }  # fmt: skip

    def run(self) -> Report:
        """Everything, until the time is up; then the reckoning."""
        began = time.monotonic()
        end = began + 60 * self.report.minutes
        calm = began + 40 * self.report.minutes
        self.daemon.start(START_SECONDS)
        try:
            # An empty index cannot tell the library from a foreign folder: it has to know something of it first.
            while len(list(self.pictures.rglob("*.png"))) < ESTABLISHED:
                self._arrive()
            self.daemon.wait_until("the library", lambda status: status.images >= ESTABLISHED, START_SECONDS)
            while time.monotonic() < end:
                self._kills_left = time.monotonic() < calm
                for _ in range(self.chance.randrange(2, 8)):
                    self._draw(self._deeds)()
                self._draw(self._faults)()
                time.sleep(self.chance.uniform(0.2, 2.0))
                for _ in range(self.chance.randrange(3)):
                    self._draw(self._deeds)()
                self._mend()
                self._see_to_the_daemon()
                if not self._kills_left:
                    self._measure()
            self._reckon()
        finally:
            self._mend()
            self.daemon.stop(120.0)
        self._compare()
        return self.report

    def _draw(self, table: dict[Callable[[], None], int]) -> Callable[[], None]:
        return self.chance.choices(list(table), list(table.values()))[0]

    def _fault(self, name: str, mend: Callable[[], None] | None = None) -> None:
        self.report.faults[name] += 1
        if mend is not None:
            self._mends.append(mend)

    def _mend(self) -> None:
        while self._mends:
            self._mends.pop()()
        self.shim.mend()

    def _see_to_the_daemon(self) -> None:
        """As a service manager does: a daemon that ended is started again.

        A start may be refused by what goes wrong in that moment, with one sentence. Whoever was ready ends for nothing.
        """
        if not psutil.pid_exists(self.daemon.pid) or psutil.Process(self.daemon.pid).status() == psutil.STATUS_ZOMBIE:
            said, end = self.daemon.said(), self.daemon.last_words()
            self.report.ends.append(end)
            if READY in said or not REFUSED.search(said):
                self.report.losses.append(f"the daemon ended of its own accord: {end}")
            self._grown.clear()
            self.daemon.kill()
            self.daemon.start(START_SECONDS)

    # What users do.

    def _arrive(self) -> None:
        for _ in range(self.chance.randrange(1, 6)):
            number = next(self._numbers)
            content = picture(number, self.chance.choice(("a red cat", "a house", "the sea")))
            # The folder may be away or a stranger's at this moment; then nobody can write there.
            with contextlib.suppress(OSError):
                if not self._mends:
                    write(self.pictures / f"d{number % 7}", f"{self.chance.choice(PEOPLE)}-{number}.png", content)
                    self.report.did["pictures"] += 1

    def _drop_job(self, prompt: str = "a cat") -> None:
        number = next(self._numbers)
        draft = self.home / "draft"
        draft.write_text(JOB.format(number=number, prompt=prompt, count=1 if prompt == POISON else 2), "utf-8")
        draft.rename(self.home / "inbox" / f"job{number}.yaml")
        self.report.did["jobs"] += 1

    def _drop_poison(self) -> None:
        self._drop_job(POISON)

    def _drop_nonsense(self) -> None:
        number = next(self._numbers)
        (self.home / "inbox" / f"bad{number}.yaml").write_text("kind: txt2img\nstepps: 3\n", "utf-8")
        self.report.did["files that are no jobs"] += 1

    def _rate(self) -> None:
        there = sorted(self.pictures.rglob("*.png"))
        if not there or self._mends:
            return
        path, value = self.chance.choice(there), self.chance.randrange(1, 6)
        content = blake3(path.read_bytes()).digest()
        with contextlib.suppress(IndexdError):
            remote = connect(load(self.home), need_daemon=True)
            try:
                changed = remote.rate([Target(path=os.fsencode(path))], value).changed
            finally:
                remote.close()
            if changed:  # a picture of this moment may not be indexed yet
                self._ratings[content] = value
                self.report.did["ratings acknowledged"] += 1

    def _move(self) -> None:
        there = sorted(self.pictures.rglob("*.png"))
        if there and not self._mends:
            path = self.chance.choice(there)
            (self.pictures / "moved").mkdir(exist_ok=True)
            path.rename(self.pictures / "moved" / path.name)
            self.report.did["moves"] += 1

    def _remove(self) -> None:
        there = sorted(self.pictures.rglob("*.png"))
        if there and not self._mends:
            self.chance.choice(there).unlink()
            self.report.did["removals"] += 1

    def _cluster(self) -> None:
        if self._mends:  # who asks a frozen daemon waits with it
            return
        with contextlib.suppress(IndexdError):
            remote = connect(load(self.home), need_daemon=True)
            try:
                remote.cluster(ClusterRequest(action="start"))
            finally:
                remote.close()
            self.report.did["clusterings"] += 1

    # What goes wrong.

    def _kill_daemon(self) -> None:
        if self._kills_left:
            self._fault("daemon killed")
            self.daemon.kill()
            self._grown.clear()
            self.daemon.launch()
            if self.chance.random() < 0.7:
                self.daemon.wait_until("an answer", lambda _status: True, START_SECONDS)

    def _kill_worker(self) -> None:
        with contextlib.suppress(psutil.Error):
            if workers := psutil.Process(self.daemon.pid).children():
                self.chance.choice(workers).kill()
                self._fault("worker killed")

    def _freeze(self) -> None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.daemon.pid)
            frozen = self.chance.choice([process, *process.children()])
            frozen.suspend()

            def thaw() -> None:
                with contextlib.suppress(psutil.Error):
                    frozen.resume()

            self._fault("process frozen", thaw)

    def _full(self) -> None:
        self.shim.full(self.chance.choice(("/index.db", "/output", "/inbox", "/thumbnails")))
        self._fault("disk full")

    def _eio(self) -> None:
        there = sorted(self.pictures.rglob("*.png"))
        if there and not self._mends:
            self.shim.order(f"/{self.chance.choice(there).name}", read=errno.EIO)
            self._fault("picture cannot be read (EIO)")

    def _slow(self) -> None:
        self.shim.order(str(self.home), slow_ms=self.chance.choice((5, 50)))
        self._fault("disk slow")

    def _no_handles(self) -> None:
        with contextlib.suppress(psutil.Error, OSError):
            pid = self.daemon.pid
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (psutil.Process(pid).num_fds() + 1, before[1]))

            def give_back() -> None:
                with contextlib.suppress(OSError):
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

            self._fault("no file handles left", give_back)

    def _clock(self) -> None:
        self.shim.order(clock=self.chance.choice((-86_400, -3_600, 3_600, 90_000)))
        self._fault("clock jumped")

    def _root_away(self) -> None:
        self._take_root("folder unmounted", lambda: None)

    def _root_replaced(self) -> None:
        def put_another() -> None:
            self.pictures.mkdir()
            for number in range(self.chance.choice((0, 3, 400))):
                write(self.pictures, f"foreign-{number}.png", picture(2_000_000 + number))

        self._take_root("folder replaced", put_another)

    def _take_root(self, name: str, then: Callable[[], None]) -> None:
        away, other = self.home / "away", self.home / "other"
        if self._mends:
            return
        self.pictures.rename(away)
        then()

        def put_back() -> None:
            # At once, as a disk is unmounted and another mounted; nobody waits until the other is empty.
            if self.pictures.exists():
                self.pictures.rename(other)
            away.rename(self.pictures)
            shutil.rmtree(other, ignore_errors=True)

        self._fault(name, put_back)

    def _bad_settings(self) -> None:
        # A manager asks nobody for a reload who is not ready.
        if READY not in self.daemon.said():
            return
        file = self.home / "indexd.toml"
        good = file.read_text("utf-8")
        file.write_text(good + "\n[wacth]\n", "utf-8")
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.daemon.pid, signal.SIGHUP)
            time.sleep(0.5)
        self._fault("settings broken at reload", lambda: _write(file, good))

    def _stranger(self) -> None:
        """A foreign program holds the write lock of the index."""
        import apsw

        with contextlib.suppress(apsw.Error):
            foreign = apsw.Connection(str(load(self.home).places.index), flags=apsw.SQLITE_OPEN_READWRITE)
            foreign.set_busy_timeout(3000)
            try:
                foreign.execute("BEGIN IMMEDIATE")
            except apsw.Error:
                foreign.close()
                raise
            self._fault("index locked by a stranger", foreign.close)

    def _second_daemon(self) -> None:
        if self.daemon.status() is None:
            return
        second = DaemonProcess(self.home, None, "tests.faults.instant")
        second.launch()
        self._fault("second daemon")
        if second.wait(START_SECONDS) == 0:
            self.report.losses.append("a second daemon ran beside the first")

    def _overflow(self) -> None:
        """More events than the kernel keeps come at once, while nobody reads them."""
        if self._mends:
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
            self._fault("event overflow")

    # What must hold.

    def _measure(self) -> None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.daemon.pid)
            self._grown.append((process.memory_info().rss, process.num_fds()))

    def _reckon(self) -> None:
        self._mend()
        self._see_to_the_daemon()
        self.daemon.wait_until("an answer", lambda _status: True, START_SECONDS)
        remote = connect(load(self.home), need_daemon=True)
        with contextlib.suppress(IndexdError):
            remote.scan(wait=True)
        status = self.daemon.wait_until("everything done", settled, SETTLE_SECONDS)
        # A worker that was killed three times with the same picture in hand has it set aside, and rightly so: it cannot
        # know who did it. What a person would do then is part of the test, and counted.
        for job in remote.jobs(["failed"], 1000).jobs:
            if POISON not in remote.job(str(job.id)).source:
                remote.retry_job(str(job.id))
                self.report.did["jobs retried by hand"] += 1
        remote.close()
        if self.report.did["jobs retried by hand"]:
            status = self.daemon.wait_until("everything done", settled, SETTLE_SECONDS)
        self.report.pictures, self.report.jobs = status.images, status.jobs
        self._measure()

    def _compare(self) -> None:
        report = self.report
        report.failed_calls = self.shim.injected
        report.losses += disagreements(self.home)
        with Store.open(load(self.home).places.index) as store:
            for content, value in self._ratings.items():
                image = store.images.by_hash(content)
                if image is None or image.rating != value:
                    report.losses.append(
                        f"rating {value} of {content.hex()[:8]} is {image.rating if image else 'gone'}"
                    )
        if len(self._grown) > 1:
            (memory, handles), (last_memory, last_handles) = self._grown[len(self._grown) // 4], self._grown[-1]
            report.memory_mb = (round(memory / 2**20, 1), round(last_memory / 2**20, 1))
            report.handles = (handles, last_handles)
            if last_memory > memory + FLAT_BYTES or last_handles > handles + FLAT_HANDLES:
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
