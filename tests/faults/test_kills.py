"""Kill -9 of daemon and workers at random while pictures arrive, jobs run and faces are clustered."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import psutil
import pytest

from indexd.api.connect import connect
from indexd.api.operations import characters
from indexd.config import read_config
from indexd.errors import IndexdError
from indexd_schemas.api.characters import CharacterListRequest, ClusteringState, ClusterRequest
from tests.faults.conftest import START_SECONDS, WAIT_SECONDS, Launch
from tests.faults.doing import add_images, agree, job, until_idle
from tests.faults.instant import POISON

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")

ROUNDS = 8


def _cluster(home: Path, action: str = "start") -> ClusteringState:
    remote = connect(read_config(home), need_daemon=True)
    try:
        return remote.call(characters.cluster, ClusterRequest.model_validate({"action": action}))
    finally:
        remote.close()


@pytest.mark.timeout(1800)
def test_nothing_is_lost_or_made_twice(home: Path, launch: Launch) -> None:
    seed = 20261121
    chance = random.Random(seed)
    daemon = launch(home)
    images = 0
    for number in range(ROUNDS):
        add_images(home, 5, first=100 * number, person=("anna", "berta")[number % 2])
        job(home, f"job{number}")
        images += 7
        with contextlib.suppress(IndexdError):
            _cluster(home)
        time.sleep(chance.uniform(0.0, 1.5))
        if chance.random() < 0.5:
            with contextlib.suppress(psutil.Error):
                for worker in psutil.Process(daemon.pid).children():
                    worker.kill()
        else:
            daemon.kill()
            daemon.start(START_SECONDS)
    until_idle(daemon, images, jobs=ROUNDS)
    _cluster(home)
    end = time.monotonic() + WAIT_SECONDS
    while (state := _cluster(home, "status")).faces < images and time.monotonic() < end:
        # What is told is the latest that came to its end, and that may be one from before the last kills.
        if state.state != "running":
            _cluster(home)
        time.sleep(0.5)
    assert (state.state, state.faces) == ("done", images)
    remote = connect(read_config(home), need_daemon=True)
    found = remote.call(characters.list_characters, CharacterListRequest()).characters
    remote.close()
    assert len(found) >= 2
    agree(daemon)


def test_a_picture_that_kills_the_worker_every_time_is_set_aside_and_the_rest_goes_on(
    home: Path, launch: Launch
) -> None:
    daemon = launch(home)
    job(home, "bad", count=1, prompt=POISON)
    job(home, "good", count=2)
    status = until_idle(daemon, images=2, jobs=2)
    assert status.jobs == {**dict.fromkeys(status.jobs, 0), "done": 1, "failed": 1}
    agree(daemon)
    assert "died 3 times" in (home / "inbox" / "failed" / "bad.yaml.error.txt").read_text("utf-8")
