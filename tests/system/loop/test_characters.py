"""Characters on the real daemon: drawn people are found, put together, named, put right and asked for.

The toy world's detector and CLIP, once for the module; nothing is generated, so the pictures are drawn.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexd.characters.evaluation.clustering_metrics import adjusted_rand_index
from indexd.demo.daemon_process import DaemonProcess, is_settled
from indexd.demo.settings_toml import model_tables
from indexd_toyworld.drawing import SMALLEST_FACE_PX, draw
from indexd_toyworld.group_images import ALL_CHARACTERS, GroupImage, find_drawn_face, group_images
from indexd_toyworld.model_paths import ToyModels
from indexd_toyworld.world import Scene, named_face
from tests.system.loop.conftest import QUICK

SETTINGS = """\
[generate]
threads = 1
[[faces.detectors]]
path = "{detector}"
min_size_px = {smallest}
[characters]
cluster_at = "never"
"""
EACH = 15
WAIT = 600.0
"""A limit, not a time that is waited: loading the libraries alone takes minutes on a busy machine."""


@dataclass(frozen=True, slots=True)
class World:
    """The running daemon, what was drawn, and each person's character."""

    daemon: DaemonProcess
    drawn: dict[str, GroupImage]
    ids: dict[str, int]

    @property
    def output(self) -> Path:
        return self.daemon.home / "output"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "indexd", "--home", str(self.daemon.home), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)

    def told(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode in (0, 3), done.stderr
        return json.loads(done.stdout)

    def add(self, name: str, scene: Scene, side: int = 128) -> Path:
        """Draw a picture and wait until its faces are found."""
        path = self.output / name
        Image.fromarray(draw(scene, side)).save(path)
        self.settled(path)
        return path

    def settled(self, path: Path) -> None:
        def known(status: Any) -> bool:
            return is_settled(status) and self.run("show", str(path)).returncode == 0

        self.daemon.wait_until(f"{path} in the index", known, WAIT)

    def face(self, path: Path) -> dict[str, Any]:
        """The only face of a picture."""
        (face,) = self.told("show", str(path))["regions"]
        return dict(face)

    def comes_to(self, path: Path, character: int) -> None:
        """Wait until the only face of a picture is this character's: a new one is given to it right after it was found."""
        what = f"the face of {path} at character {character}"
        self.daemon.wait_until(what, lambda _status: self.face(path)["character"] == character, WAIT)


@pytest.fixture(scope="module")
def world(toy_world: ToyModels) -> Iterator[World]:
    home = Path(tempfile.mkdtemp(prefix="indexd-e2e-"))
    faces = SETTINGS.format(detector=toy_world.detector.as_posix(), smallest=SMALLEST_FACE_PX)
    (home / "indexd.toml").write_text(QUICK + model_tables(clip_h=toy_world.clip_h) + faces, "utf-8")
    (home / "output").mkdir()
    drawn = {f"group-{number:03}.png": one for number, one in enumerate(group_images(5, EACH))}
    for name, one in drawn.items():
        one.image.save(home / "output" / name)
    with DaemonProcess(home) as daemon:
        daemon.wait_until("the faces", lambda status: status.images == len(drawn) and is_settled(status), WAIT)
        found = World(daemon, drawn, {})
        clustered = found.told("characters", "cluster")
        assert (clustered["state"], clustered["made"]) == ("done", len(ALL_CHARACTERS))
        for character in found.told("characters", "list")["characters"]:
            theirs = [who for who, _ in _faces(found, character["id"])]
            found.ids[max(set(theirs), key=theirs.count)] = character["id"]
        yield found
    shutil.rmtree(home, ignore_errors=True)


def _faces(world: World, character: int) -> list[tuple[str, int]]:
    """Who each face of a character is, and its number."""
    found = []
    for face in world.told("characters", "show", str(character), "-n", "1000")["faces"]:
        under = find_drawn_face(world.drawn[Path(face["path"]).name], tuple(face["box"]))
        found.append((under[0] if under else "", face["region"]))
    return found


def test_everybody_is_a_character_of_their_own(world: World) -> None:
    assert set(world.ids) == set(ALL_CHARACTERS)
    labels, truth = [], []
    for one in world.ids.values():
        for who, _ in _faces(world, one):
            labels.append(one)
            truth.append(ALL_CHARACTERS.index(who) if who else -1)
    assert adjusted_rand_index(np.array(truth), np.array(labels)) >= 0.95
    assert len(truth) >= 0.95 * sum(len(one.faces) for one in world.drawn.values())


def test_a_named_character_is_asked_for_by_name_by_face_and_beside_another(world: World) -> None:
    assert world.run("characters", "name", str(world.ids["juri"]), "Juri").returncode == 0
    assert world.run("characters", "name", str(world.ids["kira"]), "Kira").returncode == 0
    new = world.add("new-juri.png", Scene("pink", faces=(named_face("juri", "happy"),), seed=3))
    world.comes_to(new, world.ids["juri"])
    assert world.face(new)["character_name"] == "Juri"
    hits = [hit["image"]["path"] for hit in world.told("query", "--character", "juri", "-n", "1000")["hits"]]
    assert str(new) in hits
    shown = {name for name, one in world.drawn.items() if any(who == "juri" for who, _ in one.faces)}
    assert len(shown & {Path(hit).name for hit in hits}) >= 0.95 * len(shown)
    assert {Path(hit).name for hit in hits} - shown == {new.name}
    both = {
        Path(hit["image"]["path"]).name
        for hit in world.told("query", "character:juri character:kira", "-n", "1000", "--all")["hits"]
    }
    assert both == {name for name, one in world.drawn.items() if {"juri", "kira"} <= {who for who, _ in one.faces}}
    asked = world.daemon.home / "asked.png"
    Image.fromarray(draw(Scene("navy", faces=(named_face("kira", "sad"),), seed=9), 128)).save(asked)
    first = world.told("query", "--face", str(asked), "-n", "5")["hits"]
    assert all("kira" in [who for who, _ in world.drawn[Path(hit["image"]["path"]).name].faces] for hit in first)


def test_what_was_put_right_stays_through_new_faces_and_a_clustering(world: World) -> None:
    ada, hugo, cleo, emil = (world.ids[who] for who in ("ada", "hugo", "cleo", "emil"))
    (_, wrong), (_, taken), *_ = _faces(world, hugo)
    assert world.run("characters", "confirm", str(ada), str(wrong)).returncode == 0
    assert world.run("characters", "reject", str(hugo), str(taken)).returncode == 0
    assert world.run("characters", "merge", str(cleo), str(emil)).returncode == 0
    for number, who in enumerate(("cleo", "emil")):
        path = world.add(f"later-{who}.png", Scene("gray", faces=(named_face(who, "angry"),), seed=number))
        world.comes_to(path, cleo)
    clustered = world.told("characters", "cluster")
    assert (clustered["state"], clustered["made"]) == ("done", 0)
    whose = {face: one for one in (ada, hugo, cleo) for _, face in _faces_of(world, one)}
    assert whose[wrong] == ada
    assert whose.get(taken) != hugo
    assert "was merged into" in world.run("characters", "show", str(emil)).stderr
    for _ in range(3):
        assert world.run("characters", "undo").returncode == 0
    assert len(world.told("characters", "list")["characters"]) == len(ALL_CHARACTERS)


def test_an_edited_picture_keeps_what_was_said_of_its_faces(world: World) -> None:
    path = world.add("edited.png", Scene("cyan", faces=(named_face("dora", "sleepy"),), seed=7))
    world.comes_to(path, world.ids["dora"])
    # Against what is seen, so that no assignment can be what brings it about.
    assert world.run("characters", "confirm", str(world.ids["greta"]), str(world.face(path)["id"])).returncode == 0
    with Image.open(path) as picture:
        lighter = picture.point(lambda value: min(255, value + 3))
    old = world.told("show", str(path))["image"]["id"]
    lighter.save(path)

    def replaced(status: Any) -> bool:
        return is_settled(status) and world.told("show", str(path))["image"]["id"] != old

    world.daemon.wait_until("the edited picture", replaced, WAIT)
    world.comes_to(path, world.ids["greta"])


def test_a_sample_of_a_character_shows_it_only(world: World) -> None:
    sampled = world.told("sample", "--character", str(world.ids["fritz"]), "--strategy", "diverse", "-n", "5")["images"]
    assert len({one["path"] for one in sampled}) == 5
    for one in sampled:
        assert "fritz" in [who for who, _ in world.drawn[Path(one["path"]).name].faces]


def _faces_of(world: World, character: int) -> list[tuple[str, int]]:
    faces = world.told("characters", "show", str(character), "-n", "1000")["faces"]
    return [(face["path"], face["region"]) for face in faces]
