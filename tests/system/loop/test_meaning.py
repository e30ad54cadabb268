"""The loop with meaning: dropped job files ask for pictures, and every kind of question finds the right ones.

The real daemon with the toy world's trained models, once for the module; each test asks in one way. To ask in another,
add one function like those below. Questions by character need more faces than are worth generating: test_characters.py asks
them of drawn pictures.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexd.demo.daemon_process import DaemonProcess, is_settled
from indexd.demo.settings_toml import toy_settings
from indexd_toyworld.drawing import draw
from indexd_toyworld.model_paths import ToyModels
from indexd_toyworld.world import DrawnShape, Scene
from tests.system.loop.conftest import QUICK
from tests.system.loop.pictures import write

JOB = """\
kind: txt2img
prompt: {prompt}
seeds: [1, 2]
size: 64x64
steps: 12
"""
PROMPTS = {
    "red-star": "a big red star on a cyan background",
    "green-heart": "a green heart in front of a brown wall",
    "yellow-moon": "a yellow moon on a navy background",
    "purple-ring": "a purple ring on a striped background",
    "ada": "a portrait of ada on a gray background",
    "juri": "a portrait of juri before a pink backdrop",
}
"""Job name → what it asks for; each makes two pictures."""


@dataclass(frozen=True, slots=True)
class Made:
    """The home of the running daemon and the pictures of each job."""

    home: Path
    pictures: dict[str, set[str]]

    def query(self, *question: str) -> list[str]:
        """The paths of the hits, best first."""
        done = subprocess.run(
            [sys.executable, "-m", "indexd", "--home", str(self.home), "query", *question, "--json"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in (0, 3), done.stderr
        hits: list[dict[str, Any]] = json.loads(done.stdout)["hits"]
        return [hit["image"]["path"] for hit in hits]

    def found(self, job: str, *question: str) -> bool:
        """Whether the two best hits are the two pictures of `job`."""
        return set(self.query(*question, "-n", "2", "--all")) == self.pictures[job]


@pytest.fixture(scope="module")
def made(toy_world: ToyModels) -> Iterator[Made]:
    home = Path(tempfile.mkdtemp(prefix="indexd-e2e-"))
    (home / "indexd.toml").write_text(QUICK + toy_settings(toy_world) + "threads = 1\n", "utf-8")
    with DaemonProcess(home) as daemon:
        for name, prompt in PROMPTS.items():
            (home / "inbox" / f"{name}.yaml").write_text(JOB.format(prompt=prompt), "utf-8")
        daemon.wait_until(
            "the pictures", lambda status: status.jobs.get("done") == len(PROMPTS) and is_settled(status), 240
        )
        yield Made(home, {name: _pictures_of(home, name) for name in PROMPTS})
    shutil.rmtree(home, ignore_errors=True)


def _pictures_of(home: Path, job: str) -> set[str]:
    result = json.loads((home / "inbox" / "done" / f"{job}.result.json").read_text("utf-8"))
    return {item["path"] for item in result["items"]}


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("red-star", "a red star"),
        ("green-heart", "a green heart"),
        ("yellow-moon", "a golden crescent"),
        ("purple-ring", "a violet hoop"),
        ("ada", "ada"),
        ("juri", "the face of juri"),
    ],
)
def test_words_find_what_a_picture_shows(made: Made, job: str, words: str) -> None:
    assert made.found(job, "--text", words)


@pytest.mark.parametrize("job", PROMPTS)
def test_a_picture_finds_its_like(made: Made, job: str) -> None:
    one = min(made.pictures[job])
    assert made.found(job, "--similar", one)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("red-star", "a scarlet star"),
        ("yellow-moon", "a golden crescent on midnight"),
        ("purple-ring", "a violet hoop"),
        ("juri", "juri"),
    ],
)
def test_other_words_than_the_prompts_find_it(made: Made, job: str, words: str) -> None:
    assert made.found(job, "--prompt", words)


def test_what_was_drawn_elsewhere_finds_what_was_made_here(made: Made, tmp_path: Path) -> None:
    """A picture that is not in the index, of another hand: the drawing code's own red star."""
    drawn = _drawing(Scene("cyan", things=(DrawnShape("star", "red", "big", "middle"),), seed=5))
    elsewhere = write(tmp_path, "drawn.png", drawn)
    assert made.found("red-star", "--similar", str(elsewhere))


def test_what_was_drawn_elsewhere_is_indexed_and_found_by_words(made: Made) -> None:
    drawn = _drawing(Scene("checkered", things=(DrawnShape("cross", "black", "big", "middle"),), seed=6))
    path = write(made.home / "output", "drawn.png", drawn)
    DaemonProcess(made.home).wait_until(
        "the drawing", lambda status: status.images == 2 * len(PROMPTS) + 1 and is_settled(status), 60
    )
    assert made.query("--text", "a black cross", "-n", "1") == [str(path)]


def _drawing(scene: Scene) -> bytes:
    out = io.BytesIO()
    Image.fromarray(draw(scene)).save(out, "PNG")
    return out.getvalue()
