"""The noise levels that a model was trained at: level <-> time step, input scaling, and what the model's output means.

A level sigma belongs to noisy latents `clean + sigma * unit noise` (Karras et al., arXiv 2206.00364), whatever form the model
itself takes them in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Lin et al. (arXiv 2305.08891) leave no signal at the last time step, which is an infinite level. ComfyUI and A1111
# put this share of signal power there: sigma 4518.76.
_ZERO_SNR_FLOOR = 4.8973451890853435e-08
_EDM_LEVELS = 1000


class NoiseLevels(Protocol):
    """The levels of one kind of training. Families whose models are trained otherwise implement this."""

    @property
    def sigmas(self) -> FloatArray:
        """All trained levels, rising."""
        ...

    @property
    def sigma_min(self) -> float:
        """The lowest level above 0."""
        ...

    @property
    def sigma_max(self) -> float:
        """The highest level."""
        ...

    def timestep(self, sigma: float) -> float:
        """The time step that the model is given for a level; levels outside the trained ones get the nearest."""
        ...

    def trained_timestep(self, sigma: float) -> float:
        """The time step of the trained level that is nearest by logarithm, as ComfyUI rounds."""
        ...

    def sigma_at_share(self, share: float) -> float:
        """The level after `share` (0..1) of the time steps, counted from the noisiest."""
        ...

    def time_share(self, sigma: float) -> float:
        """The share (0..1) of the time steps that lie above a level; inverse of `sigma_at_share`."""
        ...

    def scale_input(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """Noisy latents in the scale that the model takes them in."""
        ...

    def predict_clean(self, output: torch.Tensor, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """The clean latents that the model's output for `latents` at `sigma` stands for."""
        ...


@dataclass(frozen=True, slots=True)
class TrainedNoise:
    """How noise was added in training. `edm_sigmas` (lowest, highest) stands for continuous levels instead of betas."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    zero_terminal_snr: bool = False
    edm_sigmas: tuple[float, float] | None = None
    sigma_data: float = 1.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TrainedNoise:
        """Read from the scheduler configuration that came with the model."""
        default = cls()
        betas = config.get("trained_betas")
        is_edm = str(config.get("_class_name", "")).startswith("EDM")
        return cls(
            num_train_timesteps=int(config.get("num_train_timesteps", default.num_train_timesteps)),
            beta_start=float(config.get("beta_start", default.beta_start)),
            beta_end=float(config.get("beta_end", default.beta_end)),
            beta_schedule=str(config.get("beta_schedule", default.beta_schedule)),
            trained_betas=None if betas is None else tuple(float(beta) for beta in betas),
            prediction_type=str(config.get("prediction_type", default.prediction_type)),
            zero_terminal_snr=bool(config.get("rescale_betas_zero_snr", False)),
            edm_sigmas=(float(config.get("sigma_min", 0.002)), float(config.get("sigma_max", 80.0)))
            if is_edm
            else None,
            sigma_data=float(config.get("sigma_data", 0.5)) if is_edm else 1.0,
        )


@dataclass(frozen=True, slots=True)
class _LevelTable:
    """Levels and time steps that rise together; between them, levels lie on a straight line of logarithms."""

    sigmas: FloatArray
    timesteps: FloatArray

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    def timestep(self, sigma: float) -> float:
        return float(np.interp(math.log(sigma), np.log(self.sigmas), self.timesteps))

    def sigma_at_share(self, share: float) -> float:
        low, high = float(self.timesteps[0]), float(self.timesteps[-1])
        return float(np.exp(np.interp(high - share * (high - low), self.timesteps, np.log(self.sigmas))))

    def time_share(self, sigma: float) -> float:
        low, high = float(self.timesteps[0]), float(self.timesteps[-1])
        return (high - self.timestep(sigma)) / (high - low)


@dataclass(frozen=True, slots=True)
class DiscreteLevels(_LevelTable):
    """Levels of a model trained at whole time steps that keeps the variance at 1."""

    prediction_type: str = "epsilon"

    # Time steps halfway between two are common (sgm_uniform at 4 steps), and the last digit of float32 decides which is the
    # nearer. So both directions are computed as ComfyUI computes them.
    def trained_timestep(self, sigma: float) -> float:
        """Its index, because all time steps are whole ones."""
        return float((torch.tensor(sigma, dtype=torch.float32).log() - self._logs()).abs().argmin())

    def sigma_at_share(self, share: float) -> float:
        """Between two trained levels on a straight line of their logarithms, in float32."""
        logs = self._logs()
        place = torch.tensor((1 - share) * (len(logs) - 1), dtype=torch.float32)
        weight = place.frac()
        return float(((1 - weight) * logs[place.floor().long()] + weight * logs[place.ceil().long()]).exp())

    def _logs(self) -> torch.Tensor:
        return torch.from_numpy(np.log(self.sigmas)).float()

    def scale_input(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """Divided by their spread, which is sqrt(sigma^2 + 1)."""
        return latents / (sigma**2 + 1) ** 0.5

    def predict_clean(self, output: torch.Tensor, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """From predicted noise, v (appendix D of arXiv 2202.00512), or clean latents."""
        if self.prediction_type == "sample":
            return output
        if self.prediction_type == "v_prediction":
            return latents / (sigma**2 + 1) - output * (sigma / math.sqrt(sigma**2 + 1))
        return latents - output * sigma


@dataclass(frozen=True, slots=True)
class EdmLevels(_LevelTable):
    """Levels of a model trained at any level (table 1 of arXiv 2206.00364); its time step is log(sigma) / 4."""

    prediction_type: str = "epsilon"
    sigma_data: float = 0.5

    def trained_timestep(self, sigma: float) -> float:
        """Every level is a trained one."""
        return math.log(sigma) / 4

    def scale_input(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """Divided by their spread, which is sqrt(sigma^2 + sigma_data^2)."""
        return latents / (sigma**2 + self.sigma_data**2) ** 0.5

    def predict_clean(self, output: torch.Tensor, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """c_skip * latents + c_out * output; with v-prediction c_out has the other sign."""
        spread = sigma**2 + self.sigma_data**2
        part = output * (sigma * self.sigma_data / math.sqrt(spread))
        kept = latents * (self.sigma_data**2 / spread)
        return kept - part if self.prediction_type == "v_prediction" else kept + part


@lru_cache(maxsize=8)
def noise_levels_for(noise: TrainedNoise) -> NoiseLevels:
    """The levels of a model's training."""
    if noise.edm_sigmas is not None:
        sigmas = np.geomspace(*noise.edm_sigmas, _EDM_LEVELS)
        return EdmLevels(sigmas, np.log(sigmas) / 4, noise.prediction_type, noise.sigma_data)
    kept = _alphas_cumprod(noise)
    return DiscreteLevels(np.sqrt((1 - kept) / kept), np.arange(len(kept), dtype=np.float64), noise.prediction_type)


def _alphas_cumprod(noise: TrainedNoise) -> FloatArray:
    """The share of signal power at each time step."""
    kept = np.cumprod(1 - _betas(noise))
    if noise.zero_terminal_snr:
        # Shift and scale the square roots so that the last is 0 and the first stays (algorithm 1 of arXiv 2305.08891).
        roots = np.sqrt(kept)
        roots = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
        kept = roots**2
        kept[-1] = _ZERO_SNR_FLOOR
    return np.asarray(kept, dtype=np.float64)


def _betas(noise: TrainedNoise) -> FloatArray:
    if noise.trained_betas is not None:
        return np.array(noise.trained_betas, dtype=np.float64)
    try:
        make = _BETA_SCHEDULES[noise.beta_schedule]
    except KeyError:
        raise ValueError(
            f"the model's scheduler configuration names the beta schedule {noise.beta_schedule!r}; "
            f"known are {', '.join(_BETA_SCHEDULES)}"
        ) from None
    return make(noise)


def _cosine_betas(noise: TrainedNoise) -> FloatArray:
    """Nichol and Dhariwal (arXiv 2102.09672)."""
    places = np.linspace(0, 1, noise.num_train_timesteps + 1)
    kept = np.cos((places + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.asarray(np.minimum(1 - kept[1:] / kept[:-1], 0.999), dtype=np.float64)


_BETA_SCHEDULES: Mapping[str, Callable[[TrainedNoise], FloatArray]] = {
    "linear": lambda noise: np.linspace(noise.beta_start, noise.beta_end, noise.num_train_timesteps),
    "scaled_linear": lambda noise: (
        np.linspace(math.sqrt(noise.beta_start), math.sqrt(noise.beta_end), noise.num_train_timesteps) ** 2
    ),
    "squaredcos_cap_v2": _cosine_betas,
}
