"""What a job can say of sampling, models and inputs, in dropped YAMLs on the real daemon; all of it made again equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from indexd.demo.daemon_process import DaemonProcess, is_settled
from indexd.demo.settings_toml import model_tables
from tests.support.tiny_models.models import TinyModels

PLAIN = {"kind": "txt2img", "prompt": "a red cat", "seed": 11, "size": "64x64", "steps": 2, "sampler": "Euler"}
LORA = {"name": "tiny-lora", "weight": 0.8, "text_weight": 0.3}
JOBS: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "nothing-added": PLAIN | {"loras": [{"name": "tiny-lora", "weight": 0}], "cfg_rescale": 0},
    "lora": PLAIN | {"loras": [LORA]},
    "sampled": PLAIN | {"cfg_rescale": 0.7, "clip_skip": 3, "variation": {"seed": 5, "strength": 0.4}},
    "vae": PLAIN | {"vae": "other"},
    "single-file": PLAIN | {"model": "tiny-sdxl"},
    "seeds": {key: value for key, value in PLAIN.items() if key != "seed"} | {"seeds": "20..22"},
    "larger": PLAIN | {"hires": {"scale": 1.5, "upscaler": "tiny-x2", "denoise": 0.5}},
    "judged": PLAIN | {"score": ["clip", "aesthetic", "sharpness"], "keep": {"aesthetic": "<=100"}},
    "folder": PLAIN | {"kind": "img2img", "input": {"folder": "SOURCES"}, "denoise": 0.5},
    "list": PLAIN | {"kind": "img2img", "input": ["SOURCES/a.png", "SOURCES/b.png"], "denoise": 0.5},
    "region": PLAIN | {"kind": "inpaint", "input": "SOURCES/a.png", "mask": "SOURCES/masks/mask.png", "mask_blur": 0},
}


def drop(home: Path, name: str, job: dict[str, Any]) -> None:
    text = json.dumps(job).replace("SOURCES", (home / "output" / "sources").as_posix())
    (home / f"{name}.tmp").write_text(text, "utf-8")
    (home / f"{name}.tmp").rename(home / "inbox" / f"{name}.yaml")


def result(home: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "inbox" / "done" / f"{name}.result.json").read_text("utf-8"))
    return found


def pixels(path: str | Path) -> Any:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"))


def prepare(home: Path, models: TinyModels) -> None:
    """Another VAE, an aesthetic head, and pictures to start from."""
    vaes, sources = home / "vaes", home / "output" / "sources"
    for folder in (vaes, sources):
        folder.mkdir(parents=True)
    vae = load_file(models.sdxl / "vae" / "diffusion_pytorch_model.safetensors")
    save_file(
        {name: weight * (1.1 if name == "decoder.conv_out.weight" else 1) for name, weight in vae.items()},
        vaes / "other.safetensors",
    )
    width = json.loads((models.clip_h / "open_clip_config.json").read_text("utf-8"))["model_cfg"]["embed_dim"]
    save_file({"weight": torch.linspace(-1, 1, width)[None]}, home / "head.safetensors")
    for name, colour in (("a", (200, 30, 30)), ("b", (30, 30, 200))):
        Image.new("RGB", (64, 64), colour).save(sources / f"{name}.png")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    (sources / "masks").mkdir()
    mask.save(sources / "masks" / "mask.png")


def test_wishes_become_pictures_that_are_made_again(bare_home: Path, tiny_models: TinyModels) -> None:
    home = bare_home
    with (home / "indexd.toml").open("a", encoding="utf-8") as settings:
        settings.write(
            model_tables(generator=tiny_models.sdxl, clip_h=tiny_models.clip_h)
            + f"""[score]
aesthetic = "{(home / "head.safetensors").as_posix()}"
[generate]
threads = 1
checkpoint_folders = ["{tiny_models.single_file.parent.as_posix()}"]
lora_folders = ["{tiny_models.lora.parent.as_posix()}"]
vae_folders = ["{(home / "vaes").as_posix()}"]
upscaler_folders = ["{tiny_models.upscaler.parent.as_posix()}"]
"""
        )
    prepare(home, tiny_models)
    with DaemonProcess(home) as daemon:
        for name, job in JOBS.items():
            drop(home, name, job)
        daemon.wait_until(
            "the pictures", lambda status: status.jobs.get("done") == len(JOBS) and is_settled(status), 240
        )
        made = {name: [one["path"] for one in result(home, name)["items"]] for name in JOBS}
        paths = [path for each in made.values() for path in each]
        drop(home, "again", {"kind": "regenerate", "input": paths, "output": "again"})
        # The result is written after the job's end stands in the ledger.
        told = home / "inbox" / "done" / "again.result.json"
        daemon.wait_until("all of them again", lambda _status: told.is_file(), 240)
        again = [one["path"] for one in result(home, "again")["items"]]
    assert [
        path for path, other in zip(paths, again, strict=True) if not np.array_equal(pixels(path), pixels(other))
    ] == []

    plain = pixels(made["plain"][0])
    for name in ("nothing-added", "single-file", "judged"):
        assert np.array_equal(pixels(made[name][0]), plain), name
    for name in ("lora", "sampled", "vae"):
        assert not np.array_equal(pixels(made[name][0]), plain), name
    assert [one["seed"] for one in result(home, "seeds")["items"]] == [20, 21, 22]
    assert pixels(made["larger"][0]).shape == (96, 96, 3)
    assert result(home, "judged")["items"][0]["scores"].keys() == {"clip", "aesthetic", "sharpness"}
    assert [pixels(path).tobytes() for path in made["folder"]] == [pixels(path).tobytes() for path in made["list"]]
    source, painted = pixels(home / "output" / "sources" / "a.png"), pixels(made["region"][0])
    assert np.array_equal(painted[:, 32:], source[:, 32:])
    assert not np.array_equal(painted[:, :32], source[:, :32])
