"""Renders the contact sheets of docs/features.md: `python docs/sheets.py [FEATURE …]`, a few minutes on a CPU.

Runs the real daemon with the toy world's models in a temporary home. Each cell of docs/features.py is a job file for its
inbox; the rendered images form one contact sheet a feature. A refused or failed cell ends the program with its error.
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

LabelledImage = tuple[Image.Image, str]


class Home:
    """A home folder with a running daemon, and drawings in its inbox."""

    def __init__(self, folder: Path, daemon: DaemonProcess) -> None:
        self._folder = folder
        self._daemon = daemon
        self.inbox = folder / "inbox"

    def draw_inputs(self) -> None:
        """Draw the input images of all jobs into the inbox."""
        for name, (scenes, side) in DRAWINGS.items():
            across = math.isqrt(len(scenes))
            whole = Image.new("RGB", (across * side, across * side))
            for place, scene in enumerate(scenes):
                whole.paste(Image.fromarray(draw(scene, side)), (place % across * side, place // across * side))
            whole.save(self.inbox / f"{name}.png")

    def map(self, drawing: str, kind: str) -> Path:
        """The control map of a drawing, made by `indexd control`."""
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

    def submit(self, name: str, keys: dict[str, Any]) -> None:
        """Write a job file and move it into the inbox."""
        text = JobFile({key: value for key, value in keys.items() if value is not None}).render(name)
        partial = self._folder / f"{name}.tmp"
        partial.write_text(text, "utf-8")
        partial.rename(self.inbox / f"{name}.yaml")

    def images(self, name: str) -> list[dict[str, Any]]:
        """The images of a job, once it is done. Ends the program with the error of a failed job."""
        reports = {end: self.inbox / end / f"{name}.result.json" for end in ("done", "failed")}
        refusal = self.inbox / "failed" / f"{name}.yaml.error.txt"
        outcomes = (*reports.values(), refusal)
        self._daemon.wait_until(name, lambda _status: any(path.exists() for path in outcomes), WAIT_SECONDS)
        if not reports["done"].exists():
            raise SystemExit(f"{name}: {next(path for path in outcomes[1:] if path.exists()).read_text('utf-8')}")
        images: list[dict[str, Any]] = json.loads(reports["done"].read_text("utf-8"))["items"]
        return images


def main(names: list[str]) -> None:
    """Render the named contact sheets, or all."""
    unknown = set(names) - {feature.name for feature in FEATURES}
    if unknown:
        raise SystemExit(f"unknown feature {min(unknown)}; known are {', '.join(one.name for one in FEATURES)}")
    features = [feature for feature in FEATURES if not names or feature.name in names]
    with tempfile.TemporaryDirectory(prefix="indexd-sheets-") as folder:
        home = Path(folder)
        (home / SETTINGS_FILE_NAME).write_text(toy_settings(toy_models()), "utf-8")
        with DaemonProcess(home) as daemon:
            running = Home(home, daemon)
            running.draw_inputs()
            for feature in features:
                _save(_page(list(_labelled_images(feature, running)), feature), SHEETS / f"{feature.name}.webp")


def _labelled_images(feature: Feature, home: Home) -> Iterator[LabelledImage]:
    """The images of a feature with their labels, in the order of its cells."""
    shown = {
        number: home.map(cell.shows, cell.map) if cell.map else home.inbox / f"{cell.shows}.png"
        for number, cell in enumerate(feature.cells)
        if cell.shows is not None
    }
    names = {number: f"{feature.name}-{number:02d}" for number in range(len(feature.cells)) if number not in shown}
    first = ""
    for number, name in names.items():
        home.submit(name, _filled(feature.job | feature.cells[number].keys, first))
        if not first and "{made}" in feature.job.values():
            first = home.images(name)[0]["path"]
    for number, cell in enumerate(feature.cells):
        if number in shown:
            yield Image.open(shown[number]).convert("RGB"), cell.label
            continue
        for one in home.images(names[number]):
            yield Image.open(one["path"]).convert("RGB"), _label(cell, one)


def _filled(keys: dict[str, Any], made: str) -> dict[str, Any]:
    return {key: made if value == "{made}" else value for key, value in keys.items()}


def _label(cell: Cell, image: dict[str, Any]) -> str:
    if "seeds" not in cell.keys:
        return cell.label
    kept = "" if image.get("kept", True) else "(rejected)"
    return cell.label.format(seed=image["seed"], kept=kept, **(image.get("scores") or {}))


def _page(images: list[LabelledImage], feature: Feature) -> Image.Image:
    side, across = feature.cell_px, feature.across
    height = side + LINES * LINE_PX + GAP
    rows = -(-len(images) // across)
    page = Image.new("RGB", (across * (side + GAP) + GAP, rows * height + GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_PX)
    for cell, (image, label) in enumerate(images):
        row, column = divmod(cell, across)
        left, top = GAP + column * (side + GAP), GAP + row * height
        scale = min(side / image.width, side / image.height)
        size = (round(image.width * scale), round(image.height * scale))
        page.paste(image.resize(size, Image.Resampling.LANCZOS), (left, top))
        for line, words in enumerate(textwrap.wrap(label, round(side / FONT_PX / 0.6))[:LINES]):
            pen.text((left, top + side + line * LINE_PX), words, fill="black", font=font)
    return page


def _save(page: Image.Image, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    page.save(target, "WEBP", quality=QUALITY, method=6)
    sys.stdout.write(f"{target} {page.width}x{page.height}, {target.stat().st_size // 1024} KB\n")


if __name__ == "__main__":
    main(sys.argv[1:])
