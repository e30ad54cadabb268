"""A home with tiny models of the real architectures, for tests that run the real daemon."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.demo.settings_toml import pipeline_tables
from tests.support.tiny_models.models import TinyModels

QUICK = '[watch]\nsettle_seconds = 0.3\nsweep = "2s"\n'
"""A daemon that is told soon and looks again soon."""


@pytest.fixture
def bare_home() -> Iterator[Path]:
    """A home without any model: metadata and full-text search only. Short, because it holds a socket."""
    home = Path(tempfile.mkdtemp(prefix="indexd-e2e-"))
    (home / "indexd.toml").write_text(QUICK, "utf-8")
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def home(bare_home: Path, tiny_models: TinyModels) -> Path:
    """A home whose every role is filled with a tiny model."""
    roles = pipeline_tables(tiny_models.sdxl, bge=tiny_models.bge, clip_h=tiny_models.clip_h)
    generate = f"""\
[generate]
checkpoint_folders = ["{tiny_models.single_file.parent.as_posix()}"]
lora_folders = ["{tiny_models.lora.parent.as_posix()}"]
threads = 1
"""
    (bare_home / "indexd.toml").write_text(QUICK + roles + generate, "utf-8")
    return bare_home
