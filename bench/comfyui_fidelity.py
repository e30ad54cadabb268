"""Samplers and schedules against ComfyUI's engine: the same tiny SDXL weights, texts and seed; mean difference in 1/255.

`python -m bench comfyui_fidelity` prints the table names x schedules. Both sides draw their own noise from the seed, so the noise
is compared too. With `--timesteps interpolated` ours passes interpolated time steps, as jobs do that do not ask for
ComfyUI's. `--write-numbers` writes what tests/models/generate/test_comfyui_numbers.py compares with. Needs the package index once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from bench.support.comfyui_engine import ComfyEngine, EngineMissing, EngineText, install_engine
from indexd.generate.diffusion.conditioning import TextConditioning
from indexd.generate.diffusion.vae_decode import decode_latents
from indexd.generate.sampling.noise_source import noise_source
from indexd.generate.sampling.sampler_functions import SAMPLER_FUNCTIONS
from indexd.generate.sampling.sampling_run import SamplingRun
from indexd.generate.sampling.sigma_schedules import build_sigmas
from indexd.generate.sampling.step_position import StepPosition
from indexd.generate.sdxl.pipeline import SdxlModel, load_model
from indexd.worker.calls import WorkerSettings
from indexd_schemas.noise import TimestepRounding
from tests.support.elementwise_unet import NEGATIVE, POSITIVE, predict_noise
from tests.support.paths import COMFYUI_NUMBERS
from tests.support.sampler_runs import (
    COMFYUI_NOISE,
    DENOISE,
    SEED,
    SHAPE,
    SOURCE,
    STEPS,
    cfg_of,
    comparison_steps,
)
from tests.support.tiny_models.models import build_models

SIDE_PX = 64
BAR = 1.0
# ComfyUI solves SA Solver's equations in float32, which has too few digits for the first steps of linear_quadratic.
NOT_COMPARABLE = {("sa_solver", "linear_quadratic"), ("sa_solver_pece", "linear_quadratic")}
PROMPTS = ("a red cat on a wall", "blurry")
# Of the latents of one run; the formula treats each number alone, so a few stand for all.
KEPT_NUMBERS = 6
CONTROL_RANGES = ((0.0, 0.5), (0.2, 0.7), (0.0, 0.33))


@dataclass(frozen=True, slots=True)
class TinySdxl:
    """The tiny model with its texts, as both engines take them."""

    model: SdxlModel
    conditioning: TextConditioning
    engine_model: Any
    engine_texts: tuple[EngineText, EngineText]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """That of its latents."""
        side = SIDE_PX // self.model.pixels_per_latent
        return 1, self.model.latent_channels, side, side

    def ours(self, sampler: str, schedule: str, timesteps: TimestepRounding) -> torch.Tensor:
        """The latents of indexd."""
        levels = self.model.levels
        sigmas = build_sigmas(
            schedule, levels, STEPS, discard_penultimate=SAMPLER_FUNCTIONS[sampler].discard_penultimate
        )
        run = SamplingRun(sampler, sigmas, levels, timesteps=timesteps)
        source = noise_source(COMFYUI_NOISE, SEED, levels)
        unit = source.draw(self.shape)
        guided = self.model.denoiser(
            self.conditioning, cfg=cfg_of(sampler), cfg_rescale=0.0, size=(SIDE_PX, SIDE_PX), hooks=()
        )
        return list(run.run(guided, run.initial_latents(None, unit, source), unit, source, None))[-1]

    def theirs(self, engine: ComfyEngine, sampler: str, schedule: str) -> torch.Tensor:
        """The latents of ComfyUI."""
        return engine.sample(
            self.engine_model,
            self.engine_texts,
            self.shape,
            sampler=sampler,
            schedule=schedule,
            steps=STEPS,
            cfg=cfg_of(sampler),
            seed=SEED,
        )


def load_tiny_sdxl(engine: ComfyEngine, folder: Path) -> TinySdxl:
    """Build the tiny model in `folder`, and wrap its UNet for the engine."""
    models = build_models(folder / "models")
    model = load_model(models.sdxl, torch.device("cpu"), "float32", WorkerSettings({}, str(folder / "cache")))
    conditioning = model.encode_prompts(*PROMPTS, guided=True, clip_skip=None, syntax="plain", embeddings=None)
    texts = conditioning.at_step(StepPosition(0, 1))
    assert texts.negative is not None  # the conditioning is guided

    def network(
        latents: torch.Tensor, timestep: torch.Tensor, hidden: torch.Tensor, pooled: torch.Tensor | None
    ) -> torch.Tensor:
        time_ids = torch.tensor([[SIDE_PX, SIDE_PX, 0, 0, SIDE_PX, SIDE_PX]] * len(latents), dtype=hidden.dtype)
        made: torch.Tensor = model.pipeline.unet(
            latents,
            timestep,
            encoder_hidden_states=hidden,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids},
            return_dict=False,
        )[0]
        return made

    engine_texts = tuple(EngineText(one.hidden, one.pooled) for one in (texts.positive[0][0], texts.negative))
    return TinySdxl(model, conditioning, engine.model(network), (engine_texts[0], engine_texts[1]))


def pixel_difference(model: SdxlModel, one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean difference of the decoded images in 1/255; infinite where one has no numbers."""
    if not (torch.isfinite(one).all() and torch.isfinite(other).all()):
        return float("inf")
    first, second = (np.asarray(decode_latents(model, each, is_part=True)).astype(np.int16) for each in (one, other))
    return float(np.abs(first - second).mean())


def print_table(engine: ComfyEngine, tiny: TinySdxl, timesteps: TimestepRounding) -> int:
    """Print a row for each sampler. Answers how many pairs are above the bar."""
    width = max(map(len, engine.schedules)) + 1
    print(f"{'mean difference in 1/255':<32}" + "".join(f"{name:>{width}}" for name in engine.schedules), flush=True)
    differences: dict[tuple[str, str], float] = {}
    for sampler in engine.samplers:
        row = [
            pixel_difference(
                tiny.model, tiny.ours(sampler, schedule, timesteps), tiny.theirs(engine, sampler, schedule)
            )
            for schedule in engine.schedules
        ]
        print(f"{sampler:<32}" + "".join(f"{value:>{width}.3f}" for value in row), flush=True)
        differences |= {(sampler, schedule): value for schedule, value in zip(engine.schedules, row, strict=True)}
    compared = [value for pair, value in differences.items() if pair not in NOT_COMPARABLE]
    above = sum(value > BAR for value in compared)
    print(
        f"{len(compared)} pairs, {STEPS} steps, time steps {timesteps}: {sum(value == 0 for value in compared)} equal in "
        f"every pixel, largest {max(compared):.3f}, {above} above {BAR:g}/255"
    )
    return above


def elementwise_numbers(engine: ComfyEngine) -> dict[str, Any]:
    """ComfyUI's numbers for the model of one formula, and its levels: what the tests hold."""
    model = engine.model(lambda x, t, text, _pooled: predict_noise(x, t, text.reshape(-1, 1, 1, 1)))
    texts = tuple(EngineText(torch.full((1, 1, 1), text)) for text in (POSITIVE, NEGATIVE))

    def latents(sampler: str, schedule: str, **more: Any) -> list[float]:
        made = engine.sample(
            model,
            (texts[0], texts[1]),
            SHAPE,
            sampler=sampler,
            schedule=schedule,
            steps=comparison_steps(sampler, schedule),
            cfg=cfg_of(sampler),
            seed=SEED,
            **more,
        )
        return rounded(made.flatten()[:KEPT_NUMBERS].tolist())

    zero_snr = engine.model(lambda x, _t, _text, _pooled: x, prediction="V_PREDICTION", zero_snr=True)
    return {
        "txt2img": {name: {each: latents(name, each) for each in engine.schedules} for name in engine.samplers},
        "img2img": {name: latents(name, "karras", latents=SOURCE, denoise=DENOISE) for name in engine.samplers},
        "levels": {
            f"{name} {steps}": rounded(engine.sigmas(model, "euler", name, steps))
            for name in engine.schedules
            for steps in (4, 12, 30)
        },
        "zero_snr": {name: rounded(engine.sigmas(zero_snr, "euler", name, 8)) for name in engine.schedules},
        "control": [
            {"range": span, "schedule": name, "steps": steps, "active": engine.active_steps(model, name, steps, *span)}
            for span in CONTROL_RANGES
            for name, steps in (("normal", 20), ("karras", 20), ("normal", 8))
        ],
    }


def rounded(values: list[float]) -> list[float]:
    """Six significant digits."""
    return [float(f"{value:.6g}") for value in values]


def write_numbers(file: Path, numbers: dict[str, Any]) -> None:
    """One line for each list of numbers."""
    parts = [
        f'"{name}": {{\n' + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in part.items()) + "}"
        if isinstance(part, dict)
        else f'"{name}": [\n' + ",\n".join(map(json.dumps, part)) + "]"
        for name, part in numbers.items()
    ]
    file.write_text("{" + ",\n".join(parts) + "}\n", "utf-8")


def main(arguments: list[str]) -> int:
    """The exit code is 1 where a pair is above the bar."""
    parser = argparse.ArgumentParser(prog="bench comfyui_fidelity")
    parser.add_argument("--timesteps", choices=get_args(TimestepRounding), default="rounded")
    parser.add_argument("--write-numbers", action="store_true")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=UserWarning)
    try:
        engine = install_engine()
    except EngineMissing as error:
        print(f"skipped: {error}")
        return 0
    if options.write_numbers:
        write_numbers(COMFYUI_NUMBERS, elementwise_numbers(engine))
        print(f"{COMFYUI_NUMBERS} written")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return int(print_table(engine, load_tiny_sdxl(engine, Path(folder)), options.timesteps) > 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
