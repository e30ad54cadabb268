"""What a render costs above the bare diffusers pipeline: 20 pictures each, tiny model, one process, one thread.

`python bench/render_overhead.py [PICTURES]`. The bare side is what a script would do: one call a picture, and saving the
picture as PNG. Rounds alternate, so that a slow second hits both; the best of each counts.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from diffusers import StableDiffusionXLPipeline

from indexd.demo.models import build_models
from indexd.generate.render import render
from indexd.models.pool import ModelPool
from indexd.worker.calls import ModelSpec, Render, WorkerSettings

ROUNDS = 3
STEPS = 8
SIDE = 64


class BenchSession:
    """The surroundings of a call, with nothing urgent and nobody listening."""

    def __init__(self, checkpoint: Path, cache: Path) -> None:
        self.pool = ModelPool()
        self.settings = WorkerSettings({}, str(cache))
        self._checkpoint = str(checkpoint)

    def spec(self, role: str) -> ModelSpec:
        """The tiny model on the CPU."""
        return ModelSpec(role, self._checkpoint, device="cpu", dtype="float32", keep_alive_seconds=None)

    def between_steps(self) -> None:
        """Nothing waits."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Nobody listens."""


def main(pictures: int) -> None:
    """Print seconds of both sides and their ratio."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = build_models(Path(folder) / "models")
        session = BenchSession(models.sdxl, Path(folder) / "cache")
        bare = StableDiffusionXLPipeline.from_pretrained(models.sdxl, dtype=torch.float32, add_watermarker=False)
        bare.set_progress_bar_config(disable=True)

        def by_render(seed: int) -> None:
            recipe = {"kind": "txt2img", "prompt": "a cat", "negative_prompt": "blurry", "seed": seed, "width": SIDE}
            recipe |= {"height": SIDE, "steps": STEPS, "cfg": 5.0, "sampler": "euler", "model": {"name": "tiny"}}
            render(Render(recipe, str(models.sdxl)), session)

        def by_bare(seed: int) -> None:
            picture = bare(
                prompt="a cat",
                negative_prompt="blurry",
                width=SIDE,
                height=SIDE,
                num_inference_steps=STEPS,
                guidance_scale=5.0,
                generator=torch.Generator("cpu").manual_seed(seed),
            ).images[0]
            picture.save(io.BytesIO(), "PNG")

        by_render(0)
        by_bare(0)
        timed = [(_seconds(by_bare, pictures), _seconds(by_render, pictures)) for _ in range(ROUNDS)]
    bare_seconds, render_seconds = min(pair[0] for pair in timed), min(pair[1] for pair in timed)
    print(f"bare pipeline  {pictures} pictures  {bare_seconds:.3f} s")
    print(f"render()       {pictures} pictures  {render_seconds:.3f} s")
    print(f"ratio          {render_seconds / bare_seconds:.3f}  (limit 1.05)")


def _seconds(make: Callable[[int], None], pictures: int) -> float:
    started = time.perf_counter()
    for seed in range(pictures):
        make(seed)
    return time.perf_counter() - started


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
