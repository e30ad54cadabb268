"""How far an image of one recipe differs between processors: the same recipes with kernels for other processors.

Each variant is a process that limits torch (ATen), oneDNN and MKL to the instructions of an older processor, or uses another
number of threads. Prints the largest and the mean difference from the present processor's image in 1/255. The environment
variable INDEXD_BENCH_DTYPE chooses the model's number format.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX, STEPS = 64, 20
DTYPE = os.environ.get("INDEXD_BENCH_DTYPE", "float32")
SAMPLERS = (("dpmpp_2m", "karras"), ("euler", "normal"), ("euler_ancestral", "karras"), ("dpmpp_2m_sde", "karras"))
PROMPTS = ("a red circle on a blue ground", "two green squares")

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2,STRICT"}
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "the same again": {},
    "AVX2": AVX2,
    "AVX2, torch's kernels alone": {"ATEN_CPU_CAPABILITY": "avx2"},
    "AVX2, oneDNN's kernels alone": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "AVX2, MKL's kernels alone": {"MKL_CBWR": "AVX2,STRICT"},
    "SSE4.1": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"},
    "another number of threads": {"OMP_NUM_THREADS": "2"},
}


class PlainSession:
    """A session of the worker's kind without urgent calls and listeners."""

    def __init__(self, cache: Path) -> None:
        from indexd.models.model_pool import ModelPool
        from indexd.worker.calls import WorkerSettings

        self.pool = ModelPool()
        self.settings = WorkerSettings({}, str(cache))

    def spec(self, role: str) -> Any:
        """The CPU."""
        from indexd.worker.calls import ModelSpec

        return ModelSpec(role, "", device="cpu", dtype=DTYPE, keep_alive_seconds=None)

    def poll(self) -> None:
        """No urgent calls."""

    def raise_if_cancelled(self) -> None:
        """Nobody cancels."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """No listener."""


def render_all(folder: Path) -> None:
    """Write the images of all recipes into `folder`; runs in a process of its own."""
    from indexd.reproducibility import set_reproducible_environment

    set_reproducible_environment()
    from indexd.generate.render import render
    from indexd.worker.calls import FileRef, Render
    from indexd_schemas.recipe import Recipe
    from indexd_schemas.recipe_part import FileKey, ModelRef
    from indexd_toyworld.model_paths import SHIPPED_WEIGHTS

    session = PlainSession(folder / "cache")
    model = {FileKey("checkpoint", "toy"): FileRef(os.fsencode(SHIPPED_WEIGHTS / "sdxl"))}
    for number, prompt in enumerate(PROMPTS):
        for sampler, schedule in SAMPLERS:
            recipe = Recipe(
                kind="txt2img",
                prompt=prompt,
                negative_prompt="blurry",
                seed=7 + number,
                width=SIDE_PX,
                height=SIDE_PX,
                steps=STEPS,
                cfg=5.0,
                sampler=sampler,
                schedule=schedule,
                model=ModelRef(name="toy"),
            )
            (folder / f"{number}-{sampler}.png").write_bytes(render(Render(recipe, model), session).encoded)


def images_of(variant: Mapping[str, str], folder: Path) -> dict[str, NDArray[np.int16]]:
    """The images that a process with these environment variables makes, by name."""
    folder.mkdir()
    environment = {"OMP_NUM_THREADS": "1", **os.environ, **variant}
    subprocess.run([sys.executable, "-m", "bench.other_processors", str(folder)], env=environment, check=True)
    made = {}
    for file in sorted(folder.glob("*.png")):
        with Image.open(io.BytesIO(file.read_bytes())) as opened:
            made[file.name] = np.asarray(opened.convert("RGB")).astype(np.int16)
    return made


def main() -> None:
    """Print a line for each variant."""
    with tempfile.TemporaryDirectory() as scratch:
        here = images_of({}, Path(scratch) / "here")
        print(f"{len(here)} images of {SIDE_PX}x{SIDE_PX}, {STEPS} steps, {DTYPE}, against this processor's, in 1/255")
        for number, (name, variant) in enumerate(VARIANTS.items()):
            made = images_of(variant, Path(scratch) / str(number))
            differences = [np.abs(made[file] - pixels) for file, pixels in here.items()]
            largest, mean = max(int(one.max()) for one in differences), float(np.mean(differences))
            equal = sum(not one.any() for one in differences)
            print(
                f"{name:<36} largest {largest:>3} | mean {mean:.4f} | equal images {equal} of {len(here)}", flush=True
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        render_all(Path(sys.argv[1]))
    else:
        main()
