"""The shipped face detector: loads without running code, without network, and finds faces it was never shown."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from indexd_toyworld.drawing import draw, face_boxes
from indexd_toyworld.model_paths import ToyModels
from indexd_toyworld.scene_sampling import scenes

PROGRAM = """
import socket, sys
from pathlib import Path

def refuse(*_arguments, **_named):
    raise AssertionError("the network was asked")

socket.getaddrinfo = socket.socket.connect = refuse
from indexd.models.ultralytics_offline import load_ultralytics

folder, weights, picture = (Path(argument) for argument in sys.argv[1:])
model = load_ultralytics(folder).YOLO(weights)
(answer,) = model.predict(picture, conf=0.5, verbose=False)
from ultralytics.utils import SAFE_LOAD
print(SAFE_LOAD, len(answer.boxes))
print(answer.boxes.xyxy.tolist())
"""


@pytest.fixture
def weights(toy_world: ToyModels) -> Path:
    return toy_world.detector


def test_the_file_holds_nothing_of_the_machine_that_made_it(weights: Path) -> None:
    with zipfile.ZipFile(weights) as archive:
        (pickled,) = (archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    for word in (b"/tmp", b"/home", b"/root", b"/work", b"http", b"faces-data"):
        assert word not in pickled
    assert weights.stat().st_size < 3_000_000


def test_it_finds_a_stranger_offline_and_writes_into_its_folder_only(weights: Path, tmp_path: Path) -> None:
    from PIL import Image

    (scene,) = scenes(8, 1, split="all", unknown=True)
    picture = tmp_path / "stranger.png"
    Image.fromarray(draw(scene, 128)).save(picture)
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "library", weights, picture],
        env={"PATH": "", "HOME": str(home), "PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=120,
    )
    safe, boxes = done.stdout.splitlines()[-2:]
    assert safe == "True 1"
    found = np.array(json.loads(boxes))[0]
    wanted = np.array(face_boxes(scene, 128)[0][1:])
    assert np.abs(found - wanted).max() < 8
    assert list(home.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "library", "stranger.png"]
