"""Schedulers and pipelines of diffusers as a reference for our samplers."""

from __future__ import annotations

from typing import Any

import diffusers

_MULTISTEP = {"final_sigmas_type": "zero", "solver_type": "midpoint", "solver_order": 2}
_UNIPC = {"solver_order": 3, "final_sigmas_type": "sigma_min"}
_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpm_2": ("KDPM2DiscreteScheduler", {}),
    "dpm_2_ancestral": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", _MULTISTEP),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", _MULTISTEP | {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_2m_sde_heun": (
        "DPMSolverMultistepScheduler",
        _MULTISTEP | {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun"},
    ),
    "uni_pc": ("UniPCMultistepScheduler", _UNIPC | {"solver_type": "bh1"}),
    "uni_pc_bh2": ("UniPCMultistepScheduler", _UNIPC | {"solver_type": "bh2"}),
    "sa_solver": ("SASolverScheduler", {"predictor_order": 3, "corrector_order": 4}),
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "lcm": ("LCMScheduler", {"clip_sample": False}),
}
WITHOUT_KARRAS = {
    "euler_ancestral": "linspace",
    "ddim": "leading",
    "ddpm": "leading",
    "lcm": "linspace",
}


def diffusers_scheduler(name: str, *, karras: bool = True, **options: Any) -> Any:
    """A scheduler over the noise of SDXL's training; Karras levels where it takes them."""
    class_name, own = _CLASSES[name]
    spacing = {"timestep_spacing": WITHOUT_KARRAS.get(name, "linspace")}
    levels = {} if name in WITHOUT_KARRAS else {"use_karras_sigmas": karras}
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    return getattr(diffusers, class_name)(**noise, **spacing, **levels, **own, **options)
