"""Copies and variations on the real daemon, whose decoding process compares the pixels; and without it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from PIL import Image

from bench.support.synthetic_images import scene_image
from indexd.demo.daemon_process import DaemonProcess
from tests.system.loop.test_loop import indexd
from tests.system.loop.test_marks import shown, wait_settled
from tests.unit.image_metadata.writers import text


def listed(home: Path) -> dict[str, list[set[str]]]:
    """The file names of each group, by kind."""
    ran = indexd(home, "duplicates", "--near", "--variations", "--json")
    assert ran.returncode == 0, ran.stderr
    groups: dict[str, list[set[str]]] = {}
    for group in json.loads(ran.stdout)["groups"]:
        groups.setdefault(group["kind"], []).append({os.path.basename(one["path"]) for one in group["members"]})
    return groups


def save(path: Path, image: Image.Image, words: bytes = b"", **options: Any) -> Path:
    image.save(path, **options)
    if words:
        # A text whose checksum is wrong, as an editor of workflows leaves it.
        data = path.read_bytes()
        path.write_bytes(data[:33] + text("parameters", words)[:-4] + b"oops" + data[33:])
    return path


def test_copies_and_variations_with_and_without_the_daemon(bare_home: Path) -> None:
    folder = bare_home / "output"
    folder.mkdir(exist_ok=True)
    image = scene_image(0, 0)
    expected = {"near": [{"one.png", "small.webp"}], "variations": [{"one.png", "other.png"}]}
    with DaemonProcess(bare_home) as daemon:
        one = save(folder / "one.png", image, b"a scene\nSteps: 20, Seed: 1, CFG scale: 7")
        save(folder / "other.png", image, b"a scene\nSteps: 21, Seed: 1, CFG scale: 7")
        save(folder / "small.webp", image.resize((300, 300)), quality=80)
        wait_settled(daemon, 3)
        assert "checksum of a tEXt chunk" in shown(bare_home, one)["problem"]
        assert listed(bare_home) == expected
    assert listed(bare_home) == expected
