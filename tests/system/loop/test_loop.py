"""The loop on the real daemon with tiny models: drop a YAML, get pictures, find them, make one again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from indexd.demo.daemon_process import DaemonProcess, is_settled
from tests.system.loop.pictures import picture, write

JOB = """\
kind: txt2img
prompt: a red star over the sea
negative_prompt: text
seeds: [11, 12, 13]
size: 64x64
steps: 3
sampler: DPM++ 2M
schedule: karras
"""


def indexd(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "indexd", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def assert_without_torch(daemon: int) -> None:
    """Of the native libraries that this process loaded, the index's are there and the models' are not."""
    if Path("/proc/self/maps").exists():
        loaded = Path(f"/proc/{daemon}/maps").read_text()
        assert "vec0" in loaded
        assert "torch" not in loaded


def assert_ended(pids: list[int]) -> None:
    """None of these processes is there any more."""
    for pid in pids if os.name == "posix" else ():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_dropped_job_becomes_pictures_that_are_found_and_made_again(home: Path) -> None:
    with DaemonProcess(home) as daemon:
        (home / "inbox" / "star.yaml").write_text(JOB, "utf-8")
        (home / "inbox" / "wrong.yaml").write_text(JOB.replace("DPM++ 2M", "DPM+ 2M"), "utf-8")
        status = daemon.wait_until(
            "the pictures",
            lambda status: status.jobs.get("done") == 1 and status.images == 3 and is_settled(status),
            180,
        )
        assert {stage: states for stage, states in status.pending.items() if any(states.values())} == {}

        refusal = (home / "inbox" / "failed" / "wrong.yaml.error.txt").read_text("utf-8")
        assert "line 7" in refusal
        assert "DPM++ 2M" in refusal
        result = json.loads((home / "inbox" / "done" / "star.result.json").read_text("utf-8"))
        assert [item["seed"] for item in result["items"]] == [11, 12, 13]
        pictures = [Path(item["path"]) for item in result["items"]]

        assert indexd(home, "rate", str(pictures[1]), "5").returncode == 0
        similar = json.loads(indexd(home, "query", "--similar", str(pictures[1]), "--json").stdout)
        assert similar["hits"][0]["image"]["path"] == str(pictures[1])
        assert similar["hits"][0]["image"]["rating"] == 5
        assert len(similar["hits"]) == 3
        filtered = indexd(home, "query", "--prompt", "red star", "rating:5", "--paths")
        assert filtered.stdout.splitlines() == [str(pictures[1])]
        assert indexd(home, "query", "seed:99").returncode == 3

        words = json.loads(indexd(home, "query", "--text", "a star", "--json").stdout)
        assert len(words["hits"]) == 3

        again = home / "again.png"
        replay = indexd(home, "replay", str(pictures[2]), "--out", str(again))
        assert replay.returncode == 0, replay.stderr
        assert again.is_file()

        # The models are in the workers alone, and those end with the daemon.
        assert_without_torch(daemon.pid)
        workers = [worker.pid for worker in status.workers if worker.alive and worker.pid]
        assert workers
    assert_ended(workers)
    assert not (home / "indexd.sock").exists()

    # Without the daemon the same questions are answered from the index itself.
    offline = indexd(home, "query", "--prompt", "red star", "rating:5", "--paths")
    assert offline.stdout.splitlines() == [str(pictures[1])]
    assert indexd(home, "submit", str(home / "inbox" / "failed" / "wrong.yaml")).returncode == 4


def test_metadata_search_needs_no_model(bare_home: Path) -> None:
    with DaemonProcess(bare_home) as daemon:
        path = write(bare_home / "output", "one.png", picture(5, "a lighthouse"))
        status = daemon.wait_until("the picture", lambda status: status.images == 1, 30)
        found = indexd(bare_home, "query", "--prompt", "lighthouse", "--paths")
        assert found.stdout.splitlines() == [str(path)], found.stderr
        off = {role.role: role.detail for role in status.roles if not role.on}
        assert set(off) == {"generator", "bge", "clip_l", "clip_g", "clip_h", "faces"}
        assert "models.generator" in off["generator"]


def test_two_daemons_on_one_index_are_refused(bare_home: Path) -> None:
    with DaemonProcess(bare_home) as daemon:
        second = indexd(bare_home, "run")
        assert second.returncode == 1
        assert "already" in second.stderr
        assert str(daemon.pid) in second.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends SIGTERM")
def test_asking_it_to_stop_in_the_middle_ends_it_and_its_workers(bare_home: Path) -> None:
    daemon = DaemonProcess(bare_home)
    daemon.start()
    for number in range(20):
        write(bare_home / "output", f"{number}.png", picture(number))
    status = daemon.wait_until("a worker", lambda status: any(worker.alive for worker in status.workers), 60)
    workers = [worker.pid for worker in status.workers if worker.alive and worker.pid]
    daemon.stop()
    assert_ended(workers)
    assert not (bare_home / "indexd.sock").exists()
