"""A canonical sampler and schedule -> a fresh diffusers scheduler with every flag set.

`from_config` of a used scheduler carries its flags along (a Karras picture makes the next one Karras too), so nothing is
taken over but the noise that the model was trained with; everything else is stated here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import diffusers

from indexd.generate.sampling.beta_schedule import BetaScheduleMixin
from indexd_schemas.samplers import SamplerChoice, effective_schedule

_TIMESTEP_SPACING = {"normal": "linspace", "sgm_uniform": "trailing", "simple": "trailing", "ddim_uniform": "leading"}
_SIGMA_SCHEDULES = ("karras", "exponential", "beta")


@dataclass(frozen=True, slots=True)
class TrainedNoise:
    """The noise a model was trained with; the same for every sampler."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    zero_terminal_snr: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TrainedNoise:
        """Read from the scheduler configuration that came with the model."""
        default = cls()
        betas = config.get("trained_betas")
        return cls(
            num_train_timesteps=int(config.get("num_train_timesteps", default.num_train_timesteps)),
            beta_start=float(config.get("beta_start", default.beta_start)),
            beta_end=float(config.get("beta_end", default.beta_end)),
            beta_schedule=str(config.get("beta_schedule", default.beta_schedule)),
            trained_betas=None if betas is None else tuple(float(beta) for beta in betas),
            prediction_type=str(config.get("prediction_type", default.prediction_type)),
            zero_terminal_snr=bool(config.get("rescale_betas_zero_snr", False)),
        )

    def scheduler_kwargs(self) -> dict[str, Any]:
        """The arguments that every scheduler takes."""
        return {
            "num_train_timesteps": self.num_train_timesteps,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "beta_schedule": self.beta_schedule,
            "trained_betas": None if self.trained_betas is None else list(self.trained_betas),
            "prediction_type": self.prediction_type,
            "steps_offset": 1,
        }


def build_scheduler(choice: SamplerChoice, noise: TrainedNoise) -> Any:
    """A new scheduler for one render."""
    schedule = effective_schedule(choice)
    spacing = {"timestep_spacing": _TIMESTEP_SPACING.get(schedule or "", "linspace")}
    build, takes_sigmas = _BUILDERS[choice.sampler]
    sigmas = {f"use_{name}_sigmas": name == schedule for name in _SIGMA_SCHEDULES} if takes_sigmas else {}
    return build({**noise.scheduler_kwargs(), **spacing, **sigmas}, noise)


def _builder(name: str, **flags: Any) -> Callable[[dict[str, Any], TrainedNoise], Any]:
    def build(given: dict[str, Any], _noise: TrainedNoise) -> Any:
        return _scheduler_class(name, given)(**given, **flags)

    return build


def _zero_snr_builder(name: str, **flags: Any) -> Callable[[dict[str, Any], TrainedNoise], Any]:
    """For the classes that know models trained down to zero signal."""

    def build(given: dict[str, Any], noise: TrainedNoise) -> Any:
        return _scheduler_class(name, given)(**given, **flags, rescale_betas_zero_snr=noise.zero_terminal_snr)

    return build


@lru_cache(maxsize=32)
def _beta_scheduler_class(name: str) -> Any:
    return type(name, (BetaScheduleMixin, getattr(diffusers, name)), {})


def _scheduler_class(name: str, given: Mapping[str, Any]) -> Any:
    return _beta_scheduler_class(name) if given.get("use_beta_sigmas") else getattr(diffusers, name)


_MULTISTEP = {
    "thresholding": False,
    "lower_order_final": True,
    "euler_at_final": False,
    "use_lu_lambdas": False,
    "use_flow_sigmas": False,
    "final_sigmas_type": "zero",
    "variance_type": None,
}
_SDE = {**_MULTISTEP, "algorithm_type": "sde-dpmsolver++"}
_UNIPC = {
    "solver_order": 2,
    "thresholding": False,
    "predict_x0": True,
    "lower_order_final": True,
    "use_flow_sigmas": False,
}

# name -> (how it is built, whether it takes the sigma flags)
_BUILDERS: Mapping[str, tuple[Callable[[dict[str, Any], TrainedNoise], Any], bool]] = {
    "euler": (_zero_snr_builder("EulerDiscreteScheduler", interpolation_type="linear", final_sigmas_type="zero"), True),
    "euler_ancestral": (_zero_snr_builder("EulerAncestralDiscreteScheduler"), False),
    "heun": (_builder("HeunDiscreteScheduler", clip_sample=False), True),
    "dpm_2": (_builder("KDPM2DiscreteScheduler"), True),
    "dpm_2_ancestral": (_builder("KDPM2AncestralDiscreteScheduler"), True),
    "lms": (_builder("LMSDiscreteScheduler"), True),
    "dpmpp_2m": (
        _zero_snr_builder(
            "DPMSolverMultistepScheduler",
            solver_order=2,
            solver_type="midpoint",
            algorithm_type="dpmsolver++",
            **_MULTISTEP,
        ),
        True,
    ),
    "dpmpp_2m_sde": (
        _zero_snr_builder("DPMSolverMultistepScheduler", solver_order=2, solver_type="midpoint", **_SDE),
        True,
    ),
    "dpmpp_2m_sde_heun": (
        _zero_snr_builder("DPMSolverMultistepScheduler", solver_order=2, solver_type="heun", **_SDE),
        True,
    ),
    # The step to sigma 0 is infinite in B(h) = h: bh1 ends at the smallest trained sigma, as the original does.
    "uni_pc": (
        _zero_snr_builder("UniPCMultistepScheduler", solver_type="bh1", final_sigmas_type="sigma_min", **_UNIPC),
        True,
    ),
    "uni_pc_bh2": (
        _zero_snr_builder("UniPCMultistepScheduler", solver_type="bh2", final_sigmas_type="zero", **_UNIPC),
        True,
    ),
    "deis": (
        _builder(
            "DEISMultistepScheduler",
            solver_order=2,
            thresholding=False,
            algorithm_type="deis",
            solver_type="logrho",
            lower_order_final=True,
            use_flow_sigmas=False,
        ),
        True,
    ),
    "sa_solver": (
        _builder(
            "SASolverScheduler",
            predictor_order=2,
            corrector_order=2,
            thresholding=False,
            algorithm_type="data_prediction",
            lower_order_final=True,
            use_flow_sigmas=False,
        ),
        True,
    ),
    "ddim": (_zero_snr_builder("DDIMScheduler", clip_sample=False, set_alpha_to_one=False, thresholding=False), False),
    "ddpm": (
        _zero_snr_builder("DDPMScheduler", clip_sample=False, variance_type="fixed_small", thresholding=False),
        False,
    ),
    "plms": (_builder("PNDMScheduler", skip_prk_steps=True, set_alpha_to_one=False), False),
    "lcm": (_zero_snr_builder("LCMScheduler", clip_sample=False, set_alpha_to_one=True, thresholding=False), False),
}
