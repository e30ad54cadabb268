"""The guided tour: the real daemon in a throw-away home, three dropped job files, and the questions one would ask."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import click

from indexd import config
from indexd.demo.daemon_process import DaemonProcess, settled
from indexd.errors import IndexdError

WAIT_SECONDS = 240.0

SETTINGS = """\
# The demo's settings: tiny models of the real architectures, everything on the CPU.
[models.sdxl]
path = "{models}/tiny-sdxl"
[models.clip_l]
path = "{models}/tiny-sdxl"
[models.clip_g]
path = "{models}/tiny-sdxl"
[models.bge]
path = "{models}/tiny-bge"
[models.clip_h]
path = "{models}/tiny-clip-h"

[generate]
checkpoint_folders = ["{models}/checkpoints"]
lora_folders = ["{models}/loras"]
threads = 1
"""

JOBS = {
    "stars.yaml": """\
kind: txt2img
prompt: a red star over a calm sea
negative_prompt: text, watermark
seeds: [1, 2, 3, 4]
size: 64x64
steps: 8
cfg: 5
sampler: DPM++ 2M
schedule: karras
""",
    "houses.yaml": """\
kind: txt2img
prompt: a small house in the snow, evening light
seed: 7
count: 2
size: 64x64
steps: 8
sampler: Euler a
loras:
  - {name: tiny-lora, weight: 0.8}
""",
    "mistake.yaml": """\
kind: txt2img
prompt: a green moon
size: 64x64
sampler: Eular a
""",
}
RIGHT_JOBS = ("stars.yaml", "houses.yaml")
WRONG_JOB = "mistake.yaml"


def run(home: Path) -> None:
    """The whole tour in `home` (made if absent). Raises IndexdError with the log's place when something does not come."""
    began = time.monotonic()
    home.mkdir(parents=True, exist_ok=True)
    _step("Building tiny models of the real architectures (SDXL, BGE, CLIP)")
    models = _build_models(home / "models")
    (home / config.SETTINGS_NAME).write_text(SETTINGS.format(models=models.as_posix()), "utf-8")
    places = config.load(home).places
    _step("Starting the daemon: indexd run")
    with DaemonProcess(home) as daemon:
        _step(f"Dropping three job files into {places.inbox}")
        for name, text in JOBS.items():
            (places.inbox / name).write_text(text, "utf-8")
        refusal = places.inbox / "failed" / f"{WRONG_JOB}.error.txt"
        daemon.wait_until("the refusal", lambda _status: refusal.is_file(), WAIT_SECONDS)
        _step("One of them was wrong. It was set aside unchanged, and beside it stands why:")
        _quote(refusal.read_text("utf-8"))
        _step("Waiting for the pictures of the other two, and for their embeddings")
        daemon.wait_until(
            "the pictures", lambda status: status.jobs.get("done") == len(RIGHT_JOBS) and settled(status), WAIT_SECONDS
        )
        pictures = sorted(places.output.rglob("*.png"))
        star = next(picture for picture in pictures if "stars" in str(picture))
        _step("Asking")
        _indexd(home, "status")
        _indexd(home, "rate", str(star), "5")
        sheet = home / "sheet.png"
        _indexd(home, "query", "--similar", str(star), "-n", "4", "--sheet", str(sheet))
        _indexd(home, "query", "--text", "a house", "-n", "3")
        _indexd(home, "query", "--prompt", "red star", "rating:5")
        _indexd(home, "replay", str(star), "--out", str(home / "again.png"))
    seconds = time.monotonic() - began
    _step(f"Done in {seconds:.0f} s. The daemon has stopped; everything is in {home}")
    click.echo(f"  the contact sheet  {sheet}\n  the pictures       {places.output}\n  the daemon's log   {daemon.log}")
    click.echo("\nTry next:")
    click.echo(f"  indexd --home {home} run &")
    click.echo(f"  indexd --home {home} query --prompt 'snow' --json")
    click.echo("  indexd init        # your own settings, with your own folders and models")


def _build_models(folder: Path) -> Path:
    # In a process of its own: torch needs seconds to load and would stay in this one.
    if not folder.is_dir():
        program = (
            "import sys, pathlib; from indexd.demo.models import build_models; build_models(pathlib.Path(sys.argv[1]))"
        )
        done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise IndexdError(f"the tiny models could not be built: {done.stderr.strip()[-2000:]}")
    return folder


def _indexd(home: Path, *arguments: str) -> None:
    click.secho("\n$ indexd " + shlex.join(arguments), bold=True)
    done = subprocess.run(
        [sys.executable, "-m", "indexd", "--home", str(home), *arguments], capture_output=True, text=True, check=False
    )
    _quote(done.stdout + done.stderr)
    if done.returncode:
        raise IndexdError(
            f"`indexd {shlex.join(arguments)}` ended with {done.returncode}; daemon.log in {home} may say why"
        )


def _step(text: str) -> None:
    click.secho(f"\n— {text}", fg="cyan", bold=True)


def _quote(text: str) -> None:
    click.echo("\n".join(f"  {line}" for line in text.rstrip().splitlines()))
