"""What a model is: stable, different for different files, quick the second time."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from indexd.models.model_identity import HASH_CACHE_NAME, file_sha256, model_identity


def test_the_hash_is_sha256_and_is_kept(tmp_path: Path) -> None:
    file, cache = tmp_path / "m.safetensors", tmp_path / "cache"
    file.write_bytes(b"weights")
    wanted = hashlib.sha256(b"weights").hexdigest()
    assert file_sha256(file, str(cache)) == wanted
    known = json.loads((cache / HASH_CACHE_NAME).read_text())
    assert known[str(file)][2] == wanted
    known[str(file)][2] = "from the cache"
    (cache / HASH_CACHE_NAME).write_text(json.dumps(known))
    assert file_sha256(file, str(cache)) == "from the cache"


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    file = tmp_path / "m"
    file.write_bytes(b"one")
    first = file_sha256(file, str(tmp_path))
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert file_sha256(file, str(tmp_path)) != first


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"x": 1'])
def test_a_damaged_cache_costs_only_time(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "m"
    file.write_bytes(b"one")
    (tmp_path / HASH_CACHE_NAME).write_text(damage)
    assert file_sha256(file, str(tmp_path)) == hashlib.sha256(b"one").hexdigest()


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    file = tmp_path / "m"
    file.write_bytes(b"one")
    assert file_sha256(file, str(file / "no folder")) == hashlib.sha256(b"one").hexdigest()


def test_identity_is_of_names_and_contents_not_of_places(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
        (tmp_path / name / "config.json").write_bytes(b"{}")
    one, two = ([*(tmp_path / name).iterdir()] for name in ("a", "b"))
    cache = str(tmp_path / "cache")
    first = model_identity("bge", 1, one, tmp_path / "a", cache)
    assert first == model_identity("bge", 1, reversed(two), tmp_path / "b", cache)
    assert first != model_identity("bge", 2, one, tmp_path / "a", cache)
    (tmp_path / "b" / "config.json").write_bytes(b'{"x":1}')
    assert first != model_identity("bge", 1, two, tmp_path / "b", cache)
