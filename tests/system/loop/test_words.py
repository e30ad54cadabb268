"""Prompts and LoRAs on the real daemon: a dropped YAML with all of the syntax, a registry, an embedding; made again from itself."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from indexd.demo.daemon_process import DaemonProcess, is_settled
from tests.support.tiny_models.models import CLIP_G_WIDTH, CLIP_L_WIDTH
from tests.system.loop.test_loop import indexd

JOB = """\
kind: txt2img
prompt: "a (red:1.3) [star:moon:0.5] glow <lora:tiny-lora:0.6:lbw=in=0.5> BREAK a [sea|sky] AND a boat :0.4"
negative_prompt: "(text:1.2)"
seed: 11
size: 64x64
steps: 3
sampler: Euler
"""


def test_words_become_pictures_that_are_made_again(home: Path) -> None:
    folder = home / "embeddings"
    folder.mkdir()
    save_file(
        {"clip_l": torch.ones(2, CLIP_L_WIDTH), "clip_g": torch.ones(2, CLIP_G_WIDTH)}, folder / "glow.safetensors"
    )
    with (home / "indexd.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'embedding_folders = ["{folder.as_posix()}"]\n')
    (home / "loras.yaml").write_text("tiny-lora: {type: style, max_weight: 1, triggers: [ink style]}\n", "utf-8")
    with DaemonProcess(home) as daemon:
        (home / "inbox" / "words.yaml").write_text(JOB, "utf-8")
        (home / "inbox" / "much.yaml").write_text(JOB.replace("tiny-lora:0.6", "tiny-lora:2"), "utf-8")
        daemon.wait_until(
            "the picture",
            lambda status: status.jobs.get("done") == 1 and status.images == 1 and is_settled(status),
            180,
        )
        refusal = (home / "inbox" / "failed" / "much.yaml.error.txt").read_text("utf-8")
        assert "line 2, column 9: prompt: tiny-lora is registered for weights from -10 to 1 (got 2)" in refusal
        result = json.loads((home / "inbox" / "done" / "words.result.json").read_text("utf-8"))
        [recipe] = result["recipes"]
        assert recipe["prompt"].startswith("ink style, a (red:1.3) [star:moon:0.5] glow")
        assert "<lora" not in recipe["prompt"]
        assert recipe["loras"][0]["blocks"] == {"in": 0.5}
        assert recipe["embeddings"][0]["name"] == "glow"
        [picture] = [item["path"] for item in result["items"]]
        shown = indexd(home, "show", picture)
        assert "tiny-lora" in shown.stdout
        again = indexd(home, "replay", picture, "--out", str(home / "again.png"), "--json")
        assert json.loads(again.stdout)["equal"] is True, again.stderr
