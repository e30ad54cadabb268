"""Overhead of a render over the plain diffusers pipeline: 20 images each, tiny model, one process, one thread.

`python bench/render_overhead.py [IMAGES]`. The plain side does what a script would do: one call for each image, and saving a
PNG. Both sides alternate, and each goes first every other time. In blocks, the load of other programs hit one side only, and
the ratio varied from 0.96 to 1.49. The claim concerns wall time. CPU time shows whether we or other programs caused a bad wall
time, but it cannot see waiting. Only a run on an idle machine decides.
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
from indexd.worker.calls import FileRef, ModelSpec, Render, WorkerSettings
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKey, ModelRef
from tests.support.tiny_models.models import build_models

STEPS = 8
SIDE_PX = 64


class BenchSession:
    """A session without urgent calls and without listeners."""

    def __init__(self, checkpoint: Path, cache: Path) -> None:
        self.pool = ModelPool()
        self.settings = WorkerSettings({}, str(cache))
        self._checkpoint = str(checkpoint)

    def spec(self, role: str) -> ModelSpec:
        return ModelSpec(role, self._checkpoint, device="cpu", dtype="float32", keep_alive_seconds=None)

    def poll(self) -> None:
        """No urgent calls."""

    def raise_if_cancelled(self) -> None:
        """Nobody cancels."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """No listener."""


def main(images: int) -> None:
    """Print the seconds of both sides and their ratios."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = build_models(Path(folder) / "models")
        session = BenchSession(models.sdxl, Path(folder) / "cache")
        bare = StableDiffusionXLPipeline.from_pretrained(models.sdxl, dtype=torch.float32, add_watermarker=False)
        bare.set_progress_bar_config(disable=True)

        def by_render(seed: int) -> None:
            recipe = Recipe(
                kind="txt2img",
                prompt="a cat",
                negative_prompt="blurry",
                seed=seed,
                width=SIDE_PX,
                height=SIDE_PX,
                steps=STEPS,
                cfg=5.0,
                sampler="euler",
                model=ModelRef(name="tiny"),
            )
            checkpoint = FileRef(str(models.sdxl).encode())
            render(Render(recipe, {FileKey("checkpoint", "tiny"): checkpoint}), session)

        def by_bare(seed: int) -> None:
            image = bare(
                prompt="a cat",
                negative_prompt="blurry",
                width=SIDE_PX,
                height=SIDE_PX,
                num_inference_steps=STEPS,
                guidance_scale=5.0,
                generator=torch.Generator("cpu").manual_seed(seed),
            ).images[0]
            image.save(io.BytesIO(), "PNG")

        by_render(0)
        by_bare(0)
        sides = {"plain pipeline": by_bare, "render()": by_render}
        timed: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for seed in range(images):
            for name in sides if seed % 2 else reversed(sides):
                timed[name].append(_seconds(sides[name], seed))
    for place, kind in enumerate(("wall", "cpu")):
        total = {name: sum(pair[place] for pair in pairs) for name, pairs in timed.items()}
        middle = {name: statistics.median(pair[place] for pair in pairs) for name, pairs in timed.items()}
        for name in sides:
            print(f"{kind:4}  {name:13}  {images} images  {total[name]:7.3f} s  median {middle[name] * 1000:6.1f} ms")
        ratios = [values["render()"] / values["plain pipeline"] for values in (total, middle)]
        print(f"{kind:4}  ratio          totals {ratios[0]:.3f}  medians {ratios[1]:.3f}  (limit 1.05)")
    if hasattr(os, "getloadavg"):
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _seconds(make: Callable[[int], None], seed: int) -> tuple[float, float]:
    """Wall and CPU seconds of one image."""
    wall, cpu = time.perf_counter(), time.process_time()
    make(seed)
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
