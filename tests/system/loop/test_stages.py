"""Every stage through one dropped YAML on the real daemon, finished pictures changed, and all of it made again equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexd.demo.daemon_process import DaemonProcess, is_settled
from tests.models.resident.tiny_detector import write_detector
from tests.support.tiny_models.models import TinyModels
from tests.system.loop.test_loop import indexd

JOB = """\
kind: txt2img
prompt: a red cat
negative_prompt: blurry
seed: 11
size: 64x64
steps: 4
sampler: Euler a
hires: {{scale: 1.5, upscaler: Latent (bicubic), denoise: 0.5, prompt: a cat}}
detail:
  - {{detector: {detector}, kinds: [face], max: 1, denoise: 0.5, size: 64, prompt: an eye}}
  - {{detector: {detector}, kinds: [hand]}}
upscale: {{model: tiny-x2, tile: 64, overlap: 16}}
refine: {{denoise: 0.5, tile: 128, overlap: 32}}
resize: {{max_side: 160}}
"""
LARGER = "kind: upscale\ninput: {picture}\nupscale: {{model: tiny-x2, scale: 1.5}}\n"
FINER = "kind: refine\ninput: {picture}\nprompt: a cat\nsteps: 4\nseed: 3\nrefine: {{denoise: 0.5, tile: 96, overlap: 32}}\n"


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return write_detector(tmp_path, ("face", "hand"), ("face",))


def result(home: Path, name: str) -> Any:
    return json.loads((home / "inbox" / "done" / f"{name}.result.json").read_text("utf-8"))


def test_all_stages_in_one_job(home: Path, tiny_models: TinyModels, detector: Path) -> None:
    with (home / "indexd.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'upscaler_folders = ["{tiny_models.upscaler.parent.as_posix()}"]\n')
        settings.write(f'detector_folders = ["{detector.parent.as_posix()}"]\n')
    with DaemonProcess(home) as daemon:
        (home / "inbox" / "all.yaml").write_text(JOB.format(detector=detector.stem), "utf-8")
        daemon.wait_until("the picture", lambda status: status.jobs.get("done") == 1 and is_settled(status), 240)
        [made] = result(home, "all")["items"]
        path = made["path"]
        assert Image.open(path).size == (160, 160)
        stages = [
            "load",
            "loras",
            "text",
            "denoise",
            "hires",
            "decode",
            "detail",
            "upscale",
            "refine",
            "resize",
            "save",
        ]
        assert list(made["stage_seconds"]) == stages
        assert made["notes"][0].startswith(f"detail: {detector.stem} found face (")
        assert made["notes"][1] == f"detail: {detector.stem} found nothing; skipped"
        for name, text in (("larger", LARGER), ("finer", FINER)):
            (home / "inbox" / f"{name}.yaml").write_text(text.format(picture=path), "utf-8")
        daemon.wait_until("both", lambda status: status.jobs.get("done") == 3 and is_settled(status), 240)
        changed = {name: result(home, name)["items"][0]["path"] for name in ("larger", "finer")}
        assert Image.open(changed["larger"]).size == (240, 240)
        assert Image.open(changed["finer"]).size == (160, 160)
        for picture in (path, *changed.values()):
            again = indexd(home, "replay", picture, "--json")
            assert json.loads(again.stdout)["equal"] is True, again.stderr
        shown = indexd(home, "jobs", "show", "1").stdout
        assert "found nothing; skipped" in shown
        emitted = indexd(home, "query", f"path:*/{Path(path).name}", "--emit-job", str(home / "emitted.yaml"))
        assert emitted.returncode == 0, emitted.stderr
        assert '"max_side": 160' in (home / "emitted.yaml").read_text("utf-8")
