"""Kinds, inputs, scores on the real daemon: dropped YAMLs, with the daemon killed while a job that keeps the best is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexd.demo.daemon_process import DaemonProcess, is_settled
from tests.system.loop.test_loop import indexd

PLAIN = "prompt: a (red:1.2) cat\nsize: 64x64\nsteps: 2\nsampler: Euler\n"


def drop(home: Path, name: str, text: str) -> None:
    partial = home / f"{name}.tmp"
    partial.write_text(text, "utf-8")
    partial.rename(home / "inbox" / f"{name}.yaml")


def result(home: Path, name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((home / "inbox" / "done" / f"{name}.result.json").read_text("utf-8"))
    return data


def pixels(path: str | Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def test_kinds_from_dropped_files(home: Path) -> None:
    keeping = f"kind: txt2img\n{PLAIN}seeds: 1..6\nscore: [clip, sharpness]\nkeep: {{top: 2}}\noutput: best\n"
    with DaemonProcess(home) as daemon:
        drop(home, "keeping", keeping)
        best = home / "output" / "best"
        daemon.wait_until("two pictures", lambda _status: len(list(best.glob("*.png"))) >= 2, 180)
        daemon.kill()
    with DaemonProcess(home) as daemon:
        daemon.wait_until(
            "the best", lambda status: status.jobs.get("done") == 1 and status.images == 6 and is_settled(status), 180
        )
        pictures = result(home, "keeping")["items"]
        ranked = sorted(pictures, key=lambda one: (-one["scores"]["clip"], one["index"]))
        assert [one["kept"] for one in ranked] == [True, True, False, False, False, False]
        assert all(("/rejected/" in one["path"]) != one["kept"] for one in pictures)
        assert len(list(best.glob("*.png"))) == 2
        assert len(list((best / "rejected").glob("*.png"))) == 4

        daemon.wait_until(
            "the index to have seen the moves",
            lambda _status: indexd(home, "query", "path:*/rejected/*", "--paths").stdout.count(".png") == 4,
            60,
        )
        limit = ranked[1]["scores"]["clip"]
        found = indexd(home, "query", f"clip_score:>={limit}", "--sort", "clip_score", "--paths")
        assert found.stdout.split("\n")[:2] == [one["path"] for one in ranked[:2]]
        assert f"clip {ranked[0]['scores']['clip']:.4g}" in indexd(home, "show", ranked[0]["path"]).stdout

        source = ranked[0]["path"]
        drop(home, "batch", f"kind: img2img\n{PLAIN}seed: 3\ninput: {{query: '-path:*/rejected/*'}}\ndenoise: 0.6\n")
        daemon.wait_until("the batch", lambda status: status.jobs.get("done") == 2, 120)
        mask = "mask: {box: [0, 0, 0.5, 1], padding: 0}\nmask_blur: 0\n"
        drop(home, "part", f"kind: inpaint\n{PLAIN}seed: 3\ninput: '{source}'\n{mask}")
        drop(home, "again", f"kind: regenerate\ninput: '{source}'\nsteps: 3\n")
        drop(home, "none", f"kind: img2img\n{PLAIN}input: {{query: 'rating:5'}}\n")
        daemon.wait_until("all", lambda status: status.jobs.get("done") == 4, 120)

        assert len(result(home, "batch")["items"]) == 2
        [part] = result(home, "part")["items"]
        before, after = pixels(source), pixels(part["path"])
        assert np.array_equal(before[:, 32:], after[:, 32:])
        assert not np.array_equal(before[:, :32], after[:, :32])
        [recipe] = result(home, "again")["recipes"]
        assert (recipe["steps"], recipe["prompt"], recipe["seed"]) == (3, "a (red:1.2) cat", ranked[0]["seed"])
        refusal = (home / "inbox" / "failed" / "none.yaml.error.txt").read_text("utf-8")
        assert "the query 'rating:5' finds no image" in refusal
        again = json.loads(indexd(home, "replay", part["path"], "--json").stdout)
        assert again["equal"] is True
        assert again["replayed"].startswith(str(home / "cache"))
