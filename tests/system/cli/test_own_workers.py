"""Questions without a daemon load what they need in a worker of their own, and leave no process behind."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from indexd.config import read_config
from indexd.demo.settings_toml import model_tables
from indexd.model_roles import worker_settings
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.calls import EmbedImages
from indexd.worker.local_workers import LocalWorkers
from tests.support.sample_library import SampleLibrary
from tests.support.tiny_models.models import TinyModels
from tests.unit.cli.conftest import Indexd


@pytest.fixture
def embedded(home: Path, library: SampleLibrary, tiny_models: TinyModels) -> SampleLibrary:
    """The library's pictures, embedded with the tiny look model."""
    roles = model_tables(clip_h=tiny_models.clip_h, bge=tiny_models.bge)
    (home / "indexd.toml").write_text(f"{roles}[generate]\nthreads = 1\n", "utf-8")
    config = read_config(home)
    workers = LocalWorkers(worker_settings(config))
    try:
        paths = tuple(os.fsencode(library.path(name)) for name in library.ids)
        made = workers.submit(EmbedImages("clip_h", paths)).result(300)
    finally:
        workers.stop(5)
    with SqliteStore.open(config.paths.index) as store:
        revision = store.vectors.activate("clip_h", made.identity, made.vectors.shape[1], "image")
        store.vectors.put("clip_h", revision, list(library.ids.values()), made.vectors)
    return library


def test_words_foreign_pictures_and_verifying(indexd: Indexd, embedded: SampleLibrary, home: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    words = indexd("query", "--text", "something red", "-n", "3", "--json")
    assert words.code == 0, words.err
    assert len(words.json["hits"]) == 3
    assert words.json["notes"] == []
    foreign = home / "foreign.png"
    foreign.write_bytes((embedded.root / "cats/cat-0.png").read_bytes() + b"other bytes at the end")
    similar = indexd("query", "--similar", str(foreign), "-n", "1", "--json")
    assert similar.json["hits"][0]["scores"]["clip_h"] == pytest.approx(1, abs=1e-3)
    verified = indexd("models", "verify", "--json")
    assert verified.code == 0, verified.err
    assert [model["role"] for model in verified.json["models"]] == ["bge", "clip_h"]
    assert all(model["identity"] for model in verified.json["models"])
    left = {
        child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE
    } - before
    assert not [child for child in left if "resource_tracker" not in " ".join(child.cmdline())]
