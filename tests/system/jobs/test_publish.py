"""Publishing: nothing is written over, and a death at any point leaves exactly one picture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from indexd.errors import StorageFull, StoreUnavailable
from indexd.jobs.files.atomic import move_no_replace, write_new
from indexd.jobs.kinds import Artifact, find_kind
from indexd.jobs.render_kind import item_recipe
from indexd.store.records import ItemOutput, JobItemRow
from indexd.worker.calls import Render
from indexd.worker.fake_workers import fake_render
from tests.unit.jobs.conftest import JobSetup, OpenSetup

JOB = b"kind: txt2img\nprompt: a fox\nsize: 64x64\nsteps: 4\nloras: [film-grain]\n"
POINTS = ("temp opened", "temp written", "temp synced", "output staged", "linked", "folder synced", "row written")
FOREIGN_POINTS = (*POINTS[:4], "output staged", *POINTS[4:])


def _first(setup: JobSetup) -> tuple[JobItemRow, Artifact]:
    setup.jobs.submit(JOB, "x.yaml")
    item = setup.store.jobs.items(1)[0]
    return item, find_kind("txt2img").artifact(fake_render(Render(item_recipe(item))))


def test_an_image_contains_no_job_so_that_the_same_job_gives_the_same_bytes(setup: JobSetup) -> None:
    setup.jobs.submit(JOB + b"seed: 7\ncount: 2\n", "x.yaml")
    setup.jobs.submit(JOB + b"seed: 7\ncount: 2\npriority: high\n", "y.yaml")
    setup.work()
    for number in ("1", "2"):
        one, other = (setup.output / f"{job}-000{number}.png" for job in "xy")
        assert one.read_bytes() == other.read_bytes()
    assert [item.state for job in (1, 2) for item in setup.store.jobs.items(job)] == ["done"] * 4


def test_only_the_file_that_the_ledger_announced_is_adopted(setup: JobSetup) -> None:
    item, artifact = _first(setup)
    final, publisher = Path(os.fsdecode(item.path)), setup.jobs.publisher
    assert isinstance(artifact.content, bytes)
    final.write_bytes(artifact.content)
    assert publisher.adopt(item) is None  # nothing was announced
    for content_hash in (blake3(artifact.content).digest(), b"x" * 32):
        setup.store.jobs.stage_output(
            item.id, ItemOutput(item.path, content_hash, 1.0, {"notes": ["n"]}, {"clip": 0.5})
        )
        item = _item(setup)
        publisher.temp_path(final.parent, item.id).write_bytes(b"not linked yet")
        assert publisher.adopt(item) is None
        item = _item(setup)
        assert (item.content_hash, item.report, item.scores) == (None, {}, {})
        assert not publisher.temp_path(final.parent, item.id).exists()
    setup.store.jobs.stage_output(
        item.id, ItemOutput(item.path, blake3(artifact.content).digest(), 1.0, {"notes": ["n"]}, {"clip": 0.5})
    )
    os.link(final, publisher.temp_path(final.parent, item.id))  # the process ended between link and unlink
    assert publisher.adopt(_item(setup)) is not None
    item = _item(setup)
    assert (item.state, item.seconds, item.report, item.scores) == ("done", 1.0, {"notes": ["n"]}, {"clip": 0.5})
    assert setup.images() == ["x-0001.png"]


def test_a_missing_or_other_file_is_not_adopted(setup: JobSetup) -> None:
    item, _ = _first(setup)
    final = Path(os.fsdecode(item.path))
    for place in ("nothing", "other", "folder"):
        setup.store.jobs.stage_output(item.id, ItemOutput(item.path, b"x" * 32, 1.0))
        if place == "other":
            final.write_bytes(b"mine")
        elif place == "folder":
            final.unlink()
            final.mkdir()
        assert setup.jobs.publisher.adopt(_item(setup)) is None
        assert _item(setup).content_hash is None


def test_an_image_whose_row_could_not_be_written_is_published_once(
    setup: JobSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, artifact = _first(setup)
    (setup.output / "x-0001.png").write_bytes(b"mine")
    with monkeypatch.context() as patch:
        patch.setattr(setup.store.jobs, "mark_published", lambda *_: (_ for _ in ()).throw(StoreUnavailable("locked")))
        with pytest.raises(StoreUnavailable):
            setup.jobs.publisher.publish(item.id, artifact, 1.0)
    published = setup.jobs.publisher.publish(item.id, artifact, 1.0)
    assert published.adopted
    assert setup.images() == ["x-0001-2.png", "x-0001.png"]


def _item(setup: JobSetup) -> JobItemRow:
    return setup.store.jobs.items(1)[0]


@pytest.mark.parametrize("same", [False, True])
def test_a_foreign_file_is_never_written_over(setup: JobSetup, same: bool) -> None:
    item, artifact = _first(setup)
    final = Path(os.fsdecode(item.path))
    assert isinstance(artifact.content, bytes)
    mine = artifact.content if same else b"mine"
    final.write_bytes(mine)
    published = setup.jobs.publisher.publish(item.id, artifact, 1.0)
    assert final.read_bytes() == mine
    assert not published.adopted
    assert published.path == final.with_name("x-0001-2.png")
    assert setup.images() == ["x-0001-2.png", "x-0001.png"]
    assert setup.store.jobs.items(1)[0].path == os.fsencode(published.path)


def test_even_a_dangling_link_is_not_followed(setup: JobSetup, tmp_path: Path) -> None:
    item, artifact = _first(setup)
    final = Path(os.fsdecode(item.path))
    final.symlink_to(tmp_path / "elsewhere.png")
    published = setup.jobs.publisher.publish(item.id, artifact, 1.0)
    assert published.path.name == "x-0001-2.png"
    assert not (tmp_path / "elsewhere.png").exists()


def test_where_there_are_no_hard_links_nothing_is_replaced_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", lambda *_args, **_more: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"new")
    move_no_replace(source, target)
    assert target.read_bytes() == b"new"
    source.write_bytes(b"newer")
    with pytest.raises(FileExistsError):
        move_no_replace(source, target)
    assert target.read_bytes() == b"new"
    assert source.read_bytes() == b"newer"


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageFull, match="free some space"):
        write_new(tmp_path / ".t", tmp_path / "x.png", b"data")
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import os, sys
from pathlib import Path
from indexd.config import read_config
from indexd.jobs.service import JobService
from indexd.jobs.queue.runner import JobRunner
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.fake_workers import FakeWorkers

def fault(point):
    seen.append(point)
    if len(seen) == int(sys.argv[2]):
        os.kill(os.getpid(), 9)

seen = []
config = read_config(Path(sys.argv[1]))
store = SqliteStore.open(config.paths.index)
jobs = JobService(store, config, fault=fault)
runner = JobRunner(store, FakeWorkers(), jobs)
runner.recover()
while runner.run_once() == 0.0:
    runner._wake_requested = False
store.close()
print(" ".join(point.replace(" ", "_") for point in seen))
"""


def _live(home: Path, deaths_at: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(home), str(deaths_at)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("foreign", [False, True])
def test_exactly_once_whatever_point_the_process_is_killed_at(home: Path, open_setup: OpenSetup, foreign: bool) -> None:
    """Process after process is killed, each one durable step later than the one before it, until one gets through."""
    setup = open_setup()
    setup.jobs.submit(JOB + b"count: 2\n", "x.yaml")
    if foreign:
        (setup.output / "x-0001.png").write_bytes(b"mine")
    setup.store.close()
    points = FOREIGN_POINTS if foreign else POINTS
    for step in range(1, 3 * len(points)):
        life = _live(home, step)
        if life.returncode == 0:
            break
        assert life.returncode == -9, life.stderr
    else:
        raise AssertionError("no process got through")
    assert step >= len(points)

    again = open_setup()
    items = again.store.jobs.items(1)
    job = again.store.jobs.get(1)
    assert job is not None
    assert (job.state, job.file_location) == ("done", "done")
    assert [item.state for item in items] == ["done", "done"]
    expected = {os.path.basename(os.fsdecode(item.path)) for item in items}
    assert expected == ({"x-0001-2.png", "x-0002.png"} if foreign else {"x-0001.png", "x-0002.png"})
    assert set(os.listdir(again.output)) == expected | ({"x-0001.png"} if foreign else set())
    for item in items:
        assert blake3(Path(os.fsdecode(item.path)).read_bytes()).digest() == item.content_hash
    if foreign:
        assert (again.output / "x-0001.png").read_bytes() == b"mine"


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("step", range(1, len(FOREIGN_POINTS) + 1))
def test_one_death_at_each_point_then_a_whole_life(home: Path, open_setup: OpenSetup, step: int) -> None:
    setup = open_setup()
    setup.jobs.submit(JOB, "x.yaml")
    (setup.output / "x-0001.png").write_bytes(b"mine")
    setup.store.close()
    assert _live(home, step).returncode == -9
    whole = _live(home, 0)
    assert whole.returncode == 0, whole.stderr
    again = open_setup()
    assert os.listdir(again.output).count("x-0001-2.png") == 1
    assert again.images() == ["x-0001-2.png", "x-0001.png"]
    assert again.store.jobs.items(1)[0].state == "done"
