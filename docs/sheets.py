"""Makes the sheets of docs/features.md anew: `python docs/sheets.py [FEATURE …]`, a few minutes on a CPU.

The real daemon with the toy world's models in a throw-away home: each cell of docs/features.py is a YAML file that is dropped
into its inbox, and what comes out is laid on one sheet a feature. A cell that is refused or fails ends it with the reason.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from features import DRAWINGS, FEATURES, Cell, Feature
from PIL import Image, ImageDraw, ImageFont

from indexd.config import SETTINGS_FILE_NAME
from indexd.demo.daemon_process import DaemonProcess
from indexd.demo.settings_toml import toy_settings
from indexd.jobs.export.job_file import JobFile
from indexd_toyworld.drawing import draw
from indexd_toyworld.model_paths import toy_models

SHEETS = Path(__file__).parent / "sheets"
WAIT_SECONDS = 1800.0
QUALITY = 88
GAP = 6
FONT_PX = 10
LINE_PX = 12
LINES = 2

Place = tuple[Image.Image, str]


class Home:
    """A home with a running daemon and the drawings in its inbox."""

    def __init__(self, folder: Path, daemon: DaemonProcess) -> None:
        self._folder = folder
        self._daemon = daemon
        self.inbox = folder / "inbox"

    def draw(self) -> None:
        """The drawings that jobs begin with."""
        for name, (scenes, side) in DRAWINGS.items():
            across = math.isqrt(len(scenes))
            whole = Image.new("RGB", (across * side, across * side))
            for place, scene in enumerate(scenes):
                whole.paste(Image.fromarray(draw(scene, side)), (place % across * side, place // across * side))
            whole.save(self.inbox / f"{name}.png")

    def map(self, drawing: str, kind: str) -> Path:
        """The control map of a drawing, as `indexd control` makes it."""
        target = self.inbox / f"{drawing}-{kind}.png"
        command = ["control", str(self.inbox / f"{drawing}.png"), kind, "-o", str(target)]
        done = subprocess.run(
            [sys.executable, "-m", "indexd", "--home", str(self._folder), *command],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"indexd {' '.join(command)}: {done.stderr}")
        return target

    def drop(self, name: str, keys: dict[str, Any]) -> None:
        """One job file, dropped whole."""
        text = JobFile({key: value for key, value in keys.items() if value is not None}).render(name)
        partial = self._folder / f"{name}.tmp"
        partial.write_text(text, "utf-8")
        partial.rename(self.inbox / f"{name}.yaml")

    def pictures(self, name: str) -> list[dict[str, Any]]:
        """What came of a job, once it is done. Ends the program with the reason where it failed."""
        reports = {end: self.inbox / end / f"{name}.result.json" for end in ("done", "failed")}
        refusal = self.inbox / "failed" / f"{name}.yaml.error.txt"
        ends = (*reports.values(), refusal)
        self._daemon.wait_until(name, lambda _status: any(end.exists() for end in ends), WAIT_SECONDS)
        if not reports["done"].exists():
            raise SystemExit(f"{name}: {next(end for end in ends[1:] if end.exists()).read_text('utf-8')}")
        pictures: list[dict[str, Any]] = json.loads(reports["done"].read_text("utf-8"))["pictures"]
        return pictures


def main(wanted: list[str]) -> None:
    """Make the sheets that are named, or all."""
    unknown = set(wanted) - {feature.name for feature in FEATURES}
    if unknown:
        raise SystemExit(f"no feature is called {min(unknown)}; there are {', '.join(one.name for one in FEATURES)}")
    features = [feature for feature in FEATURES if not wanted or feature.name in wanted]
    with tempfile.TemporaryDirectory(prefix="indexd-sheets-") as folder:
        home = Path(folder)
        (home / SETTINGS_FILE_NAME).write_text(toy_settings(toy_models()), "utf-8")
        with DaemonProcess(home) as daemon:
            at = Home(home, daemon)
            at.draw()
            for feature in features:
                _save(_page(list(_places(feature, at)), feature), SHEETS / f"{feature.name}.webp")


def _places(feature: Feature, home: Home) -> Iterator[Place]:
    """The pictures of a feature with their texts, in the order of its cells."""
    shown = {
        number: home.map(cell.shows, cell.map) if cell.map else home.inbox / f"{cell.shows}.png"
        for number, cell in enumerate(feature.cells)
        if cell.shows is not None
    }
    names = {number: f"{feature.name}-{number:02d}" for number in range(len(feature.cells)) if number not in shown}
    first = ""
    for number, name in names.items():
        home.drop(name, _filled(feature.job | feature.cells[number].keys, first))
        if not first and "{made}" in feature.job.values():
            first = home.pictures(name)[0]["path"]
    for number, cell in enumerate(feature.cells):
        if number in shown:
            yield Image.open(shown[number]).convert("RGB"), cell.label
            continue
        for one in home.pictures(names[number]):
            yield Image.open(one["path"]).convert("RGB"), _label(cell, one)


def _filled(keys: dict[str, Any], made: str) -> dict[str, Any]:
    return {key: made if value == "{made}" else value for key, value in keys.items()}


def _label(cell: Cell, picture: dict[str, Any]) -> str:
    if "seeds" not in cell.keys:
        return cell.label
    kept = "" if picture.get("kept", True) else "(rejected)"
    return cell.label.format(seed=picture["seed"], kept=kept, **(picture.get("scores") or {}))


def _page(places: list[Place], feature: Feature) -> Image.Image:
    side, across = feature.cell_px, feature.across
    height = side + LINES * LINE_PX + GAP
    rows = -(-len(places) // across)
    page = Image.new("RGB", (across * (side + GAP) + GAP, rows * height + GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_PX)
    for place, (picture, text) in enumerate(places):
        row, column = divmod(place, across)
        left, top = GAP + column * (side + GAP), GAP + row * height
        scale = min(side / picture.width, side / picture.height)
        size = (round(picture.width * scale), round(picture.height * scale))
        page.paste(picture.resize(size, Image.Resampling.LANCZOS), (left, top))
        for line, words in enumerate(textwrap.wrap(text, round(side / FONT_PX / 0.6))[:LINES]):
            pen.text((left, top + side + line * LINE_PX), words, fill="black", font=font)
    return page


def _save(page: Image.Image, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    page.save(target, "WEBP", quality=QUALITY, method=6)
    sys.stdout.write(f"{target} {page.width}x{page.height}, {target.stat().st_size // 1024} KB\n")


if __name__ == "__main__":
    main(sys.argv[1:])
