"""What a render costs above the bare diffusers pipeline: 20 pictures each, tiny model, one process, one thread.

`python bench/render_overhead.py [PICTURES]`. The bare side is what a script would do: one call a picture, and saving the
picture as PNG. The two sides take turns picture by picture, each going first every other time: in blocks, the load of
other programs fell on one side only and the ratio read anything from 0.96 to 1.49. Wall time is what is promised; CPU time
says whether a bad wall time is ours or the neighbours' (it cannot see waiting). Only a run on an idle machine decides.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from diffusers import StableDiffusionXLPipeline

from indexd.generate.render import render
from indexd.models.model_pool import ModelPool
from indexd.worker.calls import ModelSpec, Render, WorkerSettings
from tests.tiny_models.models import build_models

STEPS = 8
SIDE_PX = 64


class BenchSession:
    """The surroundings of a call, with nothing urgent and nobody listening."""

    def __init__(self, checkpoint: Path, cache: Path) -> None:
        self.pool = ModelPool()
        self.settings = WorkerSettings({}, str(cache))
        self._checkpoint = str(checkpoint)

    def spec(self, role: str) -> ModelSpec:
        """The tiny model on the CPU."""
        return ModelSpec(role, self._checkpoint, device="cpu", dtype="float32", keep_alive_seconds=None)

    def poll(self) -> None:
        """Nothing waits."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Nobody listens."""


def main(pictures: int) -> None:
    """Print seconds of both sides and their ratios."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = build_models(Path(folder) / "models")
        session = BenchSession(models.sdxl, Path(folder) / "cache")
        bare = StableDiffusionXLPipeline.from_pretrained(models.sdxl, dtype=torch.float32, add_watermarker=False)
        bare.set_progress_bar_config(disable=True)

        def by_render(seed: int) -> None:
            recipe = {"kind": "txt2img", "prompt": "a cat", "negative_prompt": "blurry", "seed": seed, "width": SIDE_PX}
            recipe |= {"height": SIDE_PX, "steps": STEPS, "cfg": 5.0, "sampler": "euler", "model": {"name": "tiny"}}
            render(Render(recipe, str(models.sdxl)), session)

        def by_bare(seed: int) -> None:
            picture = bare(
                prompt="a cat",
                negative_prompt="blurry",
                width=SIDE_PX,
                height=SIDE_PX,
                num_inference_steps=STEPS,
                guidance_scale=5.0,
                generator=torch.Generator("cpu").manual_seed(seed),
            ).images[0]
            picture.save(io.BytesIO(), "PNG")

        by_render(0)
        by_bare(0)
        sides = {"bare pipeline": by_bare, "render()": by_render}
        timed: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for seed in range(pictures):
            for name in sides if seed % 2 else reversed(sides):
                timed[name].append(_seconds(sides[name], seed))
    for place, kind in enumerate(("wall", "cpu")):
        total = {name: sum(pair[place] for pair in pairs) for name, pairs in timed.items()}
        middle = {name: statistics.median(pair[place] for pair in pairs) for name, pairs in timed.items()}
        for name in sides:
            print(
                f"{kind:4}  {name:13}  {pictures} pictures  {total[name]:7.3f} s  median {middle[name] * 1000:6.1f} ms"
            )
        ratios = [values["render()"] / values["bare pipeline"] for values in (total, middle)]
        print(f"{kind:4}  ratio          totals {ratios[0]:.3f}  medians {ratios[1]:.3f}  (limit 1.05)")
    if hasattr(os, "getloadavg"):
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _seconds(make: Callable[[int], None], seed: int) -> tuple[float, float]:
    """Wall and CPU seconds of one picture."""
    wall, cpu = time.perf_counter(), time.process_time()
    make(seed)
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
