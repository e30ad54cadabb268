"""The command line run in this process, on a home with a small index in it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from indexd.cli.app import run
from indexd.config import read_config
from indexd.store.sqlite.store import SqliteStore
from tests.support.sample_library import SampleLibrary, make_library


@dataclass
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as one JSON document."""
        return json.loads(self.out)


Indexd = Callable[..., Ran]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home with a path short enough for a socket."""
    monkeypatch.delenv("INDEXD_HOME", raising=False)
    folder = Path(tempfile.mkdtemp(prefix="ixd-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def indexd(home: Path, capfd: pytest.CaptureFixture[str]) -> Indexd:
    """Run one command with `--home`."""

    def call(*arguments: str) -> Ran:
        capfd.readouterr()
        code = run(["--home", str(home), *arguments])
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return call


@pytest.fixture
def library(home: Path) -> SampleLibrary:
    """A library in the home's index, which is closed again."""
    with SqliteStore.open(read_config(home).paths.index) as store:
        return make_library(store, home / "pictures", images_per_subject=2)
