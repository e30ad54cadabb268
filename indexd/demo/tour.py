"""The demo: runs the daemon in a temporary home, submits job files, and shows searches of the results."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click

from indexd import config
from indexd.demo.daemon_process import DaemonProcess, is_settled
from indexd.demo.settings_toml import toy_settings
from indexd.errors import EXIT_NOTHING_FOUND, IndexdError
from indexd_toyworld.model_paths import toy_models

WAIT_TIMEOUT_SECONDS = 240.0

SETTINGS_TEMPLATE = """\
# The demo's settings: the toy world's trained models, everything on the CPU.
{models}
[characters]
min_faces = 5
"""

JOB_TEMPLATE = """\
kind: txt2img
prompt: {prompt}
seeds: {seeds}
size: 64x64
steps: 20
cfg: 4
"""
PROMPTS = {
    "red-star": "a big red star on a cyan background",
    "green-heart": "a green heart in front of a brown wall",
    "yellow-moon": "a yellow moon on the left on a navy background",
    "ada": "a portrait of ada looking happy on a gray background",
    "juri": "angry juri before a pink backdrop",
    "hugo-and-cleo": "hugo next to cleo on a striped background",
}
SEEDS = (1, 2)
PORTRAITS = ("ada", "juri")
"""Jobs with more images, so that there are enough faces to form characters."""
PORTRAIT_SEEDS = (1, 2, 3, 4, 5, 6)

WRONG_JOB_NAME = "mistake.yaml"
WRONG_JOB_TEXT = """\
kind: txt2img
prompt: a blue ring
size: 64x64
sampler: Eular a
"""


def run_tour(home: Path) -> None:
    """Run the demo in `home`, which is created if absent. Raises IndexdError with the path of the log on a timeout."""
    started = time.monotonic()
    home.mkdir(parents=True, exist_ok=True)
    models = toy_models()
    (home / config.SETTINGS_FILE_NAME).write_text(SETTINGS_TEMPLATE.format(models=toy_settings(models)), "utf-8")
    paths = config.read_config(home).paths
    _print_step("The models: a toy SDXL, CLIP and BGE, trained on drawn images and shipped with indexd")
    click.echo(f"  {models.folder}")
    _print_step("Starting the daemon: indexd run")
    with DaemonProcess(home) as daemon:
        _print_step(f"Dropping {len(PROMPTS) + 1} job files into {paths.inbox}")
        for name, prompt in PROMPTS.items():
            click.echo(f"  {name + '.yaml':20} {prompt}")
            (paths.inbox / f"{name}.yaml").write_text(_job_text(name, prompt), "utf-8")
        (paths.inbox / WRONG_JOB_NAME).write_text(WRONG_JOB_TEXT, "utf-8")
        error_file = paths.inbox / "failed" / f"{WRONG_JOB_NAME}.error.txt"
        daemon.wait_until("the error file", lambda _status: error_file.is_file(), WAIT_TIMEOUT_SECONDS)
        _print_step(f"The last one, {WRONG_JOB_NAME}, is invalid. It was moved to failed/ with this error file:")
        _print_indented(error_file.read_text("utf-8"))
        _print_step("Waiting for the images of the other jobs and for their embeddings")
        daemon.wait_until(
            "the images",
            lambda status: status.jobs.get("done") == len(PROMPTS) and is_settled(status),
            WAIT_TIMEOUT_SECONDS,
        )
        sheet = _run_queries(home, paths.output)
    seconds = time.monotonic() - started
    _print_step(f"Done in {seconds:.0f} s. The daemon has stopped; everything is in {home}")
    click.echo(f"  the contact sheet  {sheet}\n  the images         {paths.output}\n  the daemon's log   {daemon.log}")
    program = "indexd" if shutil.which("indexd") else f"{sys.executable} -m indexd"
    click.echo("\nTry next:")
    click.echo(f"  {program} --home {home} run &")
    click.echo(f"  {program} --home {home} query --text 'a green heart' --json")
    click.echo(f"  {program} init        # your own settings, with your own folders and models")


def _run_queries(home: Path, output: Path) -> Path:
    """Run one search of every kind; returns the path of the contact sheet."""
    portrait = output / "juri-0001.png"
    sheet = home / "sheet.png"
    _print_step("Search by what the images show, without their prompts")
    _run_command(home, "query", "--text", "a red star", "-n", str(len(SEEDS)))
    _run_command(home, "query", "--text", "a portrait of ada", "-n", str(len(SEEDS)))
    _print_step("Search for images that look like this one")
    _run_command(home, "query", "--similar", str(portrait), "-n", str(len(SEEDS)))
    _print_step("Search for similar prompts, in other words")
    _run_command(home, "query", "--prompt", "a golden crescent", "-n", str(len(SEEDS)))
    _print_step("Ratings, filters, a contact sheet, and the same image rendered again from its metadata")
    _run_command(home, "rate", str(portrait), "5")
    _run_command(home, "query", "rating:5", "has:prompt")
    _run_command(home, "query", "--text", "hugo next to cleo", "--all", "--sheet", str(sheet), "--paths")
    _run_command(home, "replay", str(portrait), "--out", str(home / "again.png"))
    _print_step("Characters: the faces of all images, clustered")
    _run_command(home, "characters", "cluster")
    _run_command(home, "characters", "list", allow_nothing_found=True)
    _run_command(home, "show", str(portrait))
    _run_command(home, "query", "--face", str(portrait), "-n", str(len(PORTRAIT_SEEDS)))
    _run_command(home, "status")
    return sheet


def _job_text(name: str, prompt: str) -> str:
    return JOB_TEMPLATE.format(prompt=prompt, seeds=list(PORTRAIT_SEEDS if name in PORTRAITS else SEEDS))


def _run_command(home: Path, *arguments: str, allow_nothing_found: bool = False) -> None:
    click.secho("\n$ indexd " + shlex.join(arguments), bold=True)
    done = subprocess.run(
        [sys.executable, "-m", "indexd", "--home", str(home), *arguments], capture_output=True, text=True, check=False
    )
    _print_indented(done.stdout + done.stderr)
    if done.returncode and not (allow_nothing_found and done.returncode == EXIT_NOTHING_FOUND):
        raise IndexdError(
            f"`indexd {shlex.join(arguments)}` ended with exit code {done.returncode}; see daemon.log in {home}"
        )


def _print_step(text: str) -> None:
    click.secho(f"\n— {text}", fg="cyan", bold=True)


def _print_indented(text: str) -> None:
    click.echo("\n".join(f"  {line}" for line in text.rstrip().splitlines()))
