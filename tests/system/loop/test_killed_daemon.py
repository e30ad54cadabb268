"""The daemon is killed at random moments: every job is done, every image published once and indexed once.

Fake models answer at once, so that many kills fit into a minute; tiny real models show the same with workers that start slowly.
`--hypothesis-profile=long` kills more often, and the soak kills for hours.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import settings as hypothesis_settings

from indexd.demo.daemon_process import DaemonProcess, is_settled
from indexd_schemas.api.output import DaemonStatus
from tests.faults.instant import make_home
from tests.system.loop.pictures import picture, write

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX"),
]

PICTURES_A_JOB = 2
IS_LONG = hypothesis_settings().max_examples > 1000
FOREIGN_PICTURES = 60 if IS_LONG else 20
# Besides the daemon, the worker alone is killed so often: a third time could be that of one and the same picture, which
# would rightly be set aside.
WORKER_KILLS = 2

JOB = """\
kind: txt2img
prompt: job number {number}
seed: {seed}
count: 2
size: 64x64
steps: 3
sampler: Euler
"""


def _drop(inbox: Path, number: int) -> None:
    (inbox / f"job{number:02}.yaml").write_text(JOB.format(number=number, seed=1000 * number), "utf-8")


def _published(home: Path) -> int:
    return sum(1 for _ in (home / "output").rglob("*.png"))


def _kill_the_worker(status: DaemonStatus | None) -> bool:
    for worker in status.workers if status else ():
        if worker.pid and worker.alive and worker.lane == "gpu":
            psutil.Process(worker.pid).kill()
            return True
    return False


def test_jobs_survive_kills_at_random_moments(bare_home: Path) -> None:
    _killed_again_and_again(
        make_home(bare_home), jobs=40 if IS_LONG else 18, kills=30 if IS_LONG else 15, module="tests.faults.instant"
    )


def test_jobs_survive_kills_while_real_models_work(home: Path) -> None:
    (home / "pictures").mkdir()
    (home / "inbox").mkdir()
    with (home / "indexd.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'[[roots]]\npath = "{home / "pictures"}"\n')
    _killed_again_and_again(home, jobs=12 if IS_LONG else 3, kills=9 if IS_LONG else 3, module="indexd")


def _killed_again_and_again(home: Path, jobs: int, kills: int, module: str) -> None:
    chance = random.Random(20261121)
    watched, inbox = home / "pictures", home / "inbox"
    undropped, foreign = iter(range(jobs)), iter(range(FOREIGN_PICTURES))
    daemon = DaemonProcess(home, module=module)
    worker_kills = WORKER_KILLS
    given: list[int] = []
    for kill in range(kills):
        daemon.launch()
        waits_for_pictures = kill % 3 == 0
        before = _published(home)
        # Most lives are short. Every third one lasts until pictures come out, and ends in the middle of that.
        end = time.monotonic() + (60.0 if waits_for_pictures else chance.uniform(0.05, 3.0))
        while time.monotonic() < end:
            if (number_left := next(undropped, None)) is not None and chance.random() < 0.6:
                _drop(inbox, number_left)
                given.append(number_left)
            if (number := next(foreign, None)) is not None:
                write(watched, f"{number}.png", picture(number))
            if worker_kills and waits_for_pictures and chance.random() < 0.1:
                worker_kills -= _kill_the_worker(daemon.status())
            if waits_for_pictures and number_left is None and _published(home) == len(given) * PICTURES_A_JOB:
                break  # no more images come
            if waits_for_pictures and _published(home) > before:
                time.sleep(chance.uniform(0.0, 1.5))
                break
            time.sleep(chance.uniform(0.05, 0.4))
        daemon.kill()
    dropped = {path.stem for folder in ("", "accepted", "done") for path in (inbox / folder).glob("*.yaml")}
    for number in range(jobs):
        if f"job{number:02}" not in dropped:
            _drop(inbox, number)
    with daemon:
        status = daemon.wait_until(
            "every job and every embedding",
            lambda status: sum(status.jobs.values()) >= jobs and is_settled(status),
            900,
        )
    assert status.jobs == {**dict.fromkeys(status.jobs, 0), "done": jobs}

    published = sorted((home / "output").rglob("*.png"))
    assert len(published) == jobs * PICTURES_A_JOB
    results = [json.loads(path.read_text("utf-8")) for path in (inbox / "done").glob("*.result.json")]
    assert len(results) == jobs
    seeds = sorted(item["seed"] for result in results for item in result["items"])
    assert seeds == sorted(1000 * number + index for number in range(jobs) for index in range(PICTURES_A_JOB))
    assert sorted(item["path"] for result in results for item in result["items"]) == [str(path) for path in published]

    foreign_written = len(list(watched.glob("*.png")))
    assert status.images == status.files == len(published) + foreign_written
    strays = [path for path in home.rglob("*") if path.name.endswith((".part", ".tmp"))]
    assert strays == []
    assert list(inbox.glob("*.yaml")) == []
