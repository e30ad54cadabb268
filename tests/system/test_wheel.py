"""The wheel holds everything: built from a copy of the sources, installed alone, run from another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

SOURCES = ("indexd", "handlers", "schemas", "toyworld", "systemd", "pyproject.toml", "README.md", "LICENSE")

PROGRAM = """
import json, sys
import indexd, indexd_handlers, indexd_schemas, indexd_toyworld
from indexd import registry
import indexd.daemon
from indexd_toyworld.model_paths import toy_models
print(json.dumps({
    "places": [package.__file__ for package in (indexd, indexd_handlers, indexd_schemas, indexd_toyworld)],
    "jobs": list(registry.job_kinds.kinds()),
    "files": list(registry.file_kinds.kinds()),
    "detector": toy_models().detector.is_file(),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", ".build"))
        else:
            shutil.copy(source, copy / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", copy / "dist", copy], check=True, capture_output=True
    )
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_what_is_no_code(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {
        str(path.relative_to(REPOSITORY).as_posix())
        for folder in ("indexd/store/sqlite/schema", "indexd/generate/sdxl/config")
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in (".sql", ".json", ".txt")
    }
    assert wanted - set(names) == set()
    for unit in ("indexd.service", "indexd@.service"):
        assert any(name.endswith(f"share/indexd/systemd/{unit}") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "bench/")) for name in names)


def test_the_wheel_holds_the_toy_worlds_models(wheel: Path) -> None:
    root = REPOSITORY / "toyworld"
    package = root / "indexd_toyworld"
    wanted = {
        path.relative_to(root).as_posix()
        for path in (*package.glob("weights/**/*"), package / "train" / "faces.yaml", package / "evaluate" / "card.md")
        if path.is_file()
    }
    assert len(wanted) > 3
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_the_installed_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel], check=True
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "INDEXD_HOME": str(tmp_path / "home")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    told = run("-c", PROGRAM)
    assert told.count(str(site)) == 4
    assert '"txt2img"' in told
    assert '"image"' in told
    assert '"detector": true' in told
    assert run("-m", "indexd", "--version").startswith("indexd ")
    assert "[models.generator]" in run("-m", "indexd", "config", "sample")
    assert "INDEXD" in run("-m", "indexd", "--help")
