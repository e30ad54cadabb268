"""Publishing: nothing is written over, and a death at any point leaves exactly one picture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from indexd.errors import StorageFull
from indexd.jobs.files.atomic import move_no_replace, write_new
from indexd.jobs.kinds import ExistingOutput, find_kind
from indexd.jobs.render_kind import find_existing_output, recipe_with_job
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.calls import Render, Rendered
from indexd.worker.fake_workers import fake_render
from indexd_schemas.recipe import Recipe
from tests.unit.jobs.conftest import JobSetup, OpenSetup

JOB = b"kind: txt2img\nprompt: a fox\nsize: 64x64\nsteps: 4\nloras: [film-grain]\n"
POINTS = ("temp opened", "temp written", "temp synced", "linked", "folder synced", "row written")
FOREIGN_POINTS = (*POINTS[:3], "path changed", *POINTS[3:])


def _first(setup: JobSetup, number: int = 1) -> tuple[JobRow, JobItemRow, Recipe, Rendered]:
    job = setup.store.jobs.get(number)
    assert job is not None
    item = setup.store.jobs.items(number)[0]
    recipe = recipe_with_job(job, item)
    return job, item, recipe, fake_render(Render(recipe))


def test_a_picture_is_told_by_its_recipe_and_its_place_in_the_ledger(setup: JobSetup, tmp_path: Path) -> None:
    setup.jobs.submit(JOB, "x.yaml")
    _, _, recipe, made = _first(setup)
    path = tmp_path / "p.png"
    png = made.png
    path.write_bytes(png)
    assert find_existing_output(path, recipe) == ExistingOutput(blake3(png).digest(), {})
    assert find_existing_output(path, recipe.model_copy(update={"job": "1/1"})) is None
    assert find_existing_output(path, recipe.model_copy(update={"steps": 5})) is None
    assert find_existing_output(path, recipe.model_copy(update={"loras": ()})) is None
    path.write_bytes(png[:-3])
    assert find_existing_output(path, recipe) is None
    path.write_bytes(b"")
    assert find_existing_output(path, recipe) is None
    assert find_existing_output(tmp_path / "none.png", recipe) is None
    assert find_existing_output(tmp_path, recipe) is None


def test_what_the_worker_fills_in_does_not_matter(setup: JobSetup, tmp_path: Path) -> None:
    setup.jobs.submit(JOB, "x.yaml")
    _, _, recipe, _ = _first(setup)
    assert recipe.model is not None and recipe.model.hash is None and recipe.dtype is None and recipe.family is None
    model = recipe.model.model_copy(update={"hash": "0123456789"})
    filled = recipe.model_copy(update={"dtype": "float32", "family": "sdxl", "model": model})
    path = tmp_path / "p.png"
    path.write_bytes(fake_render(Render(filled)).png)
    assert find_existing_output(path, recipe) is not None


def test_a_foreign_file_is_never_written_over(setup: JobSetup) -> None:
    setup.jobs.submit(JOB, "x.yaml")
    _, item, recipe, made = _first(setup)
    final = Path(os.fsdecode(item.path))
    final.write_bytes(b"mine")
    artifact = find_kind("txt2img").artifact(made)
    published = setup.jobs.publisher.publish(item, artifact, 1.0, lambda path: find_existing_output(path, recipe))
    assert final.read_bytes() == b"mine"
    assert published.path == final.with_name("x-0001-2.png")
    assert setup.pictures() == ["x-0001-2.png", "x-0001.png"]
    assert setup.store.jobs.items(1)[0].path == os.fsencode(published.path)


def test_even_a_dangling_link_is_not_followed(setup: JobSetup, tmp_path: Path) -> None:
    setup.jobs.submit(JOB, "x.yaml")
    _, item, recipe, made = _first(setup)
    final = Path(os.fsdecode(item.path))
    final.symlink_to(tmp_path / "elsewhere.png")
    artifact = find_kind("txt2img").artifact(made)
    published = setup.jobs.publisher.publish(item, artifact, 1.0, lambda path: find_existing_output(path, recipe))
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
        ours = find_existing_output(Path(os.fsdecode(item.path)), recipe_with_job(job, item))
        assert ours is not None
        assert ours.content_hash == item.content_hash
    if foreign:
        assert (again.output / "x-0001.png").read_bytes() == b"mine"


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("step", range(1, len(FOREIGN_POINTS) + 4))
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
    assert again.pictures() == ["x-0001-2.png", "x-0001.png"]
    assert again.store.jobs.items(1)[0].state == "done"
