"""Handlers that other people's packages bring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
from indexd import registry
try:
    registry.load_handlers()
except registry.AlreadyRegistered as error:
    print(error)
else:
    print(sorted(registry.file_kinds.kinds()), "sketch" in registry.job_kinds.kinds())
"""


def _package(folder: Path, name: str, source: str) -> None:
    (folder / f"{name}.py").write_text(source, "utf-8")
    about = folder / f"{name}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n", "utf-8")
    (about / "entry_points.txt").write_text(f"[indexd.handlers]\n{name} = {name}\n", "utf-8")


def _loaded(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_a_package_adds_kinds_and_one_that_is_broken_is_left_out(tmp_path: Path) -> None:
    handlers = """
from indexd.jobs.kinds import job_kind
from indexd.jobs.render_kind import RenderKind
from indexd.registry import handles_file
from indexd_schemas.jobs.job import Job

@job_kind
class Sketch(RenderKind):
    name, schema = "sketch", Job

    def plan(self, job, planner):
        return []

@handles_file("sound")
def sound(file, context):
    return None
"""
    _package(tmp_path, "more", handlers)
    _package(tmp_path, "worse", "import there_is_no_such_module")
    assert _loaded(tmp_path) == "['image', 'job', 'sound'] True"


def test_a_package_that_claims_one_of_our_kinds_is_refused_at_the_start(tmp_path: Path) -> None:
    claim = """
from indexd.jobs.kinds import job_kind
from indexd.jobs.render_kind import RenderKind
from indexd_schemas.jobs.job import Job

@job_kind
class Mine(RenderKind):
    name, schema = "txt2img", Job

    def plan(self, job, planner):
        return []
"""
    _package(tmp_path, "rude", claim)
    said = _loaded(tmp_path)
    assert "'txt2img' is handled by indexd_handlers.jobs.image_kinds.Txt2ImgKind and by rude.Mine" in said
