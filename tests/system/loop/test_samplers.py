"""Every sampler and every schedule by its A1111 name in a dropped YAML on the real daemon, and all of it made again equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexd.demo.daemon_process import DaemonProcess
from indexd.demo.settings_toml import model_tables
from indexd.images.image_reader import read_image
from indexd.jobs.export.replay import parse_recipe
from indexd_schemas.samplers import SAMPLERS, SCHEDULES, SamplerChoice, resolve_sampler
from tests.support.tiny_models.models import TinyModels

JOB = "kind: txt2img\nprompt: a cat\nseed: 5\nsize: 64x64\nsteps: 2\nsampler: {sampler}\n"


def result(home: Path, name: str) -> list[dict[str, Any]]:
    text = (home / "inbox" / "done" / f"{name}.result.json").read_text("utf-8")
    pictures: list[dict[str, Any]] = json.loads(text)["items"]
    return pictures


def stated(path: str) -> SamplerChoice:
    """The sampler and schedule in a picture's own recipe."""
    with Path(path).open("rb") as file:
        recipe = parse_recipe(read_image(file, Path(path).stat().st_size, path).metadata, path)
    assert recipe is not None
    return SamplerChoice(recipe.sampler, recipe.schedule)


def pixels(path: str) -> Any:
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_every_name_is_admitted_made_written_down_and_made_again(bare_home: Path, tiny_models: TinyModels) -> None:
    home = bare_home
    with (home / "indexd.toml").open("a", encoding="utf-8") as settings:
        settings.write(model_tables(generator=tiny_models.sdxl) + "[generate]\nthreads = 1\n")
    jobs: dict[str, tuple[str, str | None]] = {f"sampler-{name}": (one.label, None) for name, one in SAMPLERS.items()}
    jobs |= {f"schedule-{name}": ("Euler", one.label) for name, one in SCHEDULES.items()}
    with DaemonProcess(home) as daemon:
        for name, (sampler, schedule) in jobs.items():
            text = JOB.format(sampler=sampler) + (f"schedule: {schedule}\n" if schedule else "")
            (home / f"{name}.tmp").write_text(text, "utf-8")
            (home / f"{name}.tmp").rename(home / "inbox" / f"{name}.yaml")
        # A result is written after the job's end stands in the ledger.
        told = [home / "inbox" / "done" / f"{name}.result.json" for name in (*jobs, "again")]
        daemon.wait_until("the pictures", lambda _status: all(each.is_file() for each in told[:-1]), 300)
        made = {name: result(home, name)[0]["path"] for name in jobs}
        for name, (sampler, schedule) in jobs.items():
            wanted = resolve_sampler(sampler, schedule)
            written = stated(made[name])
            assert written.sampler == wanted.sampler
            assert written.schedule == wanted.schedule
        again = {"kind": "regenerate", "input": list(made.values()), "output": "again"}
        (home / "again.tmp").write_text(json.dumps(again), "utf-8")
        (home / "again.tmp").rename(home / "inbox" / "again.yaml")
        daemon.wait_until("all of them again", lambda _status: told[-1].is_file(), 300)
        repeated = [one["path"] for one in result(home, "again")]
    different = [
        name
        for name, second in zip(made, repeated, strict=True)
        if not np.array_equal(pixels(made[name]), pixels(second))
    ]
    assert different == []
    looks = {pixels(path).tobytes() for name, path in made.items() if name.startswith("sampler-")}
    assert len(looks) > len(SAMPLERS) / 2
