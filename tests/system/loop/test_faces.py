"""Faces on the real daemon, with a real detector (weights by chance) and a tiny ViT: found, shown, asked for, switched on later."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexd.demo.daemon_process import DaemonProcess, is_settled
from indexd.demo.settings_toml import model_tables
from tests.models.resident.tiny_detector import write_detector
from tests.support.tiny_models.models import TinyModels
from tests.system.loop.conftest import QUICK

FACES = """\
[faces]
[[faces.detectors]]
path = "{detector}"
min_size_px = 8
"""


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector"), ("face",), ("face",))


def noise(folder: Path, name: str, seed: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (48, 72, 3), dtype=np.uint8)).save(folder / name)
    return folder / name


def indexd(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "indexd", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def told(home: Path, *arguments: str) -> Any:
    return json.loads(indexd(home, *arguments, "--json").stdout)


def test_faces_are_found_once_a_detector_is_set(
    bare_home: Path, tiny_models: TinyModels, detector: Path, tmp_path: Path
) -> None:
    settings = QUICK + model_tables(clip_h=tiny_models.clip_h) + "[generate]\nthreads = 1\n"
    (bare_home / "indexd.toml").write_text(settings, "utf-8")
    early = noise(bare_home / "output", "early.png", 1)
    with DaemonProcess(bare_home) as daemon:
        status = daemon.wait_until("a picture", lambda status: status.images == 1 and is_settled(status), 120)
        assert "face" not in status.pending
        assert told(bare_home, "show", str(early))["regions"] == []
    (bare_home / "indexd.toml").write_text(settings + FACES.format(detector=detector.as_posix()), "utf-8")
    late = noise(bare_home / "output", "late.png", 2)
    own_home = tmp_path / "somebody"
    own_home.mkdir()
    with DaemonProcess(bare_home, {"HOME": str(own_home)}) as daemon:
        status = daemon.wait_until("two pictures", lambda status: status.images == 2 and is_settled(status), 120)
        assert not any(any(states.values()) for states in status.pending.values())
        for path in (early, late):
            regions = told(bare_home, "show", str(path))["regions"]
            assert regions and {region["kind"] for region in regions} == {"face"}
            assert all(region["size_px"] >= 8 and 0 < region["quality"] <= 1 for region in regions)
        words = indexd(bare_home, "show", str(late)).stdout
        assert f"#{regions[0]['id']}  " in words and "quality" in words
        copy = tmp_path / "copy.png"
        copy.write_bytes(late.read_bytes() + b"\0")  # other bytes, so that it has to be looked at
        hits = told(bare_home, "query", "--face", str(copy), "--all")["hits"]
        assert hits[0]["image"]["path"] == str(late) and hits[0]["scores"]["face"] > 0.99
        assert len(told(bare_home, "query", "faces:1..")["hits"]) == 2
        plain = tmp_path / "tiny.png"
        Image.new("RGB", (6, 6)).save(plain)  # smaller than any face that counts
        refused = indexd(bare_home, "query", "--face", str(plain))
        assert refused.returncode == 1 and "no face was found in" in refused.stderr
        verified = indexd(bare_home, "models", "verify", "faces")
        assert verified.returncode == 0 and "tiny0.pt/" in verified.stdout
    assert list(own_home.iterdir()) == [], "ultralytics keeps its settings in our cache folder"
    assert any((bare_home / "cache" / "libraries").iterdir())
