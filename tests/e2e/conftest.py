"""A home with tiny models of the real architectures, for tests that run the real daemon."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_models.models import TinyModels

SETTINGS = """\
[watch]
settle_seconds = 0.3
sweep = "2s"

[models.sdxl]
path = "{models.sdxl}"
[models.clip_l]
path = "{models.sdxl}"
[models.clip_g]
path = "{models.sdxl}"
[models.bge]
path = "{models.bge}"
[models.clip_h]
path = "{models.clip_h}"

[generate]
checkpoint_folders = ["{models.single_file.parent}"]
lora_folders = ["{models.lora.parent}"]
threads = 1
"""


@pytest.fixture
def bare_home() -> Iterator[Path]:
    """A home without any model: metadata and full-text search only. Short, because it holds a socket."""
    home = Path(tempfile.mkdtemp(prefix="indexd-e2e-"))
    (home / "indexd.toml").write_text('[watch]\nsettle_seconds = 0.3\nsweep = "2s"\n', "utf-8")
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def home(bare_home: Path, tiny_models: TinyModels) -> Path:
    """A home whose every role is filled with a tiny model."""
    (bare_home / "indexd.toml").write_text(SETTINGS.format(models=tiny_models), "utf-8")
    return bare_home
