"""Controls and references on the real daemon: dropped YAMLs, a map by the command line, and a picture made again."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from indexd.config import read_config
from indexd.demo.daemon_process import DaemonProcess, is_settled
from tests.support.tiny_models.conditioning import TinyConditioningModels
from tests.system.loop.test_loop import indexd

JOB = """\
kind: txt2img
prompt: a red star
seed: 11
size: 64x64
steps: 3
sampler: Euler
"""
GUIDES = """\
control:
  - {type: canny, image: ../output/shapes.png, strength: 0.8}
  - {type: depth, model: tiny-union, image: ../output/shapes.png, end: 0.7}
reference: [{image: ../output/shapes.png, weight: 0.6}]
"""


def test_controls_are_dropped_made_shown_and_made_again(home: Path, tiny_guides: TinyConditioningModels) -> None:
    (home / "output").mkdir(exist_ok=True)
    shapes = home / "output" / "shapes.png"
    pixels = np.full((64, 64, 3), 30, np.uint8)
    pixels[16:48, 20:40] = (220, 180, 40)
    Image.fromarray(pixels).save(shapes)
    guides = GUIDES.replace("../output/shapes.png", str(shapes))
    with (home / "indexd.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'[control]\nfolders = ["{tiny_guides.controls.as_posix()}"]\n')
        settings.write(f'reference_folders = ["{tiny_guides.ip_adapters.as_posix()}"]\n')
        settings.write(f'depth_model = "{tiny_guides.depth.as_posix()}"\n')
    with DaemonProcess(home) as daemon:
        (home / "inbox" / "plain.yaml").write_text(JOB, "utf-8")
        (home / "inbox" / "steered.yaml").write_text(JOB + guides, "utf-8")
        (home / "inbox" / "zero.yaml").write_text(
            JOB + f"control: [{{type: canny, strength: 0, image: {shapes}}}]\n", "utf-8"
        )
        (home / "inbox" / "wrong.yaml").write_text(JOB + guides.replace("depth,", "deth,"), "utf-8")
        daemon.wait_until(
            "the pictures",
            lambda status: status.jobs.get("done") == 3 and status.images == 4 and is_settled(status),
            240,
        )
        refusal = (home / "inbox" / "failed" / "wrong.yaml.error.txt").read_text("utf-8")
        assert "line 9" in refusal
        assert "did you mean depth" in refusal
        made = {}
        for name in ("plain", "steered", "zero"):
            result = json.loads((home / "inbox" / "done" / f"{name}.result.json").read_text("utf-8"))
            made[name] = result["items"][0]["path"]
        opened = {name: np.asarray(Image.open(path)) for name, path in made.items()}
        assert np.array_equal(opened["zero"], opened["plain"])
        assert not np.array_equal(opened["steered"], opened["plain"])
        with closing(sqlite3.connect(f"{read_config(home).paths.index.as_uri()}?mode=ro", uri=True)) as index:
            used = index.execute("SELECT model, module, weight FROM control_use ORDER BY weight DESC").fetchall()
        wanted = [("tiny-union", "depth", 1.0), ("tiny-canny", "canny", 0.8), ("tiny-adapter", "ip-adapter", 0.6)]
        assert used == [*wanted, ("tiny-canny", "canny", 0.0)]

        mapped = indexd(home, "control", str(shapes), "canny", "-o", str(home / "map.png"), "--json")
        answer = json.loads(mapped.stdout)
        assert answer["cached"] is False, mapped.stderr
        assert np.asarray(Image.open(home / "map.png")).max() == 255
        assert json.loads(indexd(home, "control", str(shapes), "canny", "--json").stdout)["cached"] is True
        wrong = indexd(home, "control", str(shapes), "scrible")
        assert (wrong.returncode, "did you mean scribble" in wrong.stderr) == (2, True)

        again = indexd(home, "replay", made["steered"], "--json")
        assert json.loads(again.stdout)["equal"] is True, again.stderr
