"""The list of samplers: which function runs each name, and what noise and levels it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from indexd.generate.sampling.solver_run import SolverFunction
from indexd.generate.sampling.solvers import (
    ddpm_lcm,
    dpm_solver,
    dpm_solver_pp,
    euler,
    exponential_integrators,
    linear_multistep,
    sa_solver,
    unipc,
)
from indexd_schemas.samplers import SamplerChoice


@dataclass(frozen=True, slots=True)
class SamplerEntry:
    """How a sampler is run.

    `uses_brownian_noise`: increments of one path instead of independent noise for each step. `discard_penultimate`: see
    `build_sigmas`. `is_cfg_pp`: needs the output for the negative text whatever the cfg is. `cfg_scale` is a factor on the
    recipe's cfg.
    """

    sample: SolverFunction
    uses_brownian_noise: bool = False
    discard_penultimate: bool = False
    is_cfg_pp: bool = False
    cfg_scale: float = 1.0


SAMPLER_FUNCTIONS: Mapping[str, SamplerEntry] = {
    "euler": SamplerEntry(euler.euler),
    "euler_ancestral": SamplerEntry(euler.euler_ancestral),
    "euler_cfg_pp": SamplerEntry(euler.euler_cfg_pp, is_cfg_pp=True),
    "euler_ancestral_cfg_pp": SamplerEntry(euler.euler_ancestral_cfg_pp, is_cfg_pp=True),
    "heun": SamplerEntry(euler.heun),
    "heunpp2": SamplerEntry(euler.heunpp2),
    "restart": SamplerEntry(euler.restart),
    "gradient_estimation": SamplerEntry(euler.gradient_estimation),
    "gradient_estimation_cfg_pp": SamplerEntry(euler.gradient_estimation_cfg_pp, is_cfg_pp=True),
    "dpm_2": SamplerEntry(dpm_solver.dpm_2, discard_penultimate=True),
    "dpm_2_ancestral": SamplerEntry(dpm_solver.dpm_2_ancestral, discard_penultimate=True),
    "dpm_fast": SamplerEntry(dpm_solver.dpm_fast),
    "dpm_adaptive": SamplerEntry(dpm_solver.dpm_adaptive),
    "dpmpp_2s_ancestral": SamplerEntry(dpm_solver_pp.dpmpp_2s_ancestral),
    "dpmpp_2s_ancestral_cfg_pp": SamplerEntry(dpm_solver_pp.dpmpp_2s_ancestral_cfg_pp, is_cfg_pp=True),
    "dpmpp_sde": SamplerEntry(dpm_solver_pp.dpmpp_sde, uses_brownian_noise=True),
    "dpmpp_2m": SamplerEntry(dpm_solver_pp.dpmpp_2m),
    "dpmpp_2m_cfg_pp": SamplerEntry(dpm_solver_pp.dpmpp_2m_cfg_pp, is_cfg_pp=True),
    "dpmpp_2m_sde": SamplerEntry(dpm_solver_pp.dpmpp_2m_sde, uses_brownian_noise=True),
    "dpmpp_2m_sde_heun": SamplerEntry(dpm_solver_pp.dpmpp_2m_sde_heun, uses_brownian_noise=True),
    "dpmpp_3m_sde": SamplerEntry(dpm_solver_pp.dpmpp_3m_sde, uses_brownian_noise=True),
    "res_multistep": SamplerEntry(exponential_integrators.res_multistep),
    "res_multistep_ancestral": SamplerEntry(exponential_integrators.res_multistep_ancestral),
    "res_multistep_cfg_pp": SamplerEntry(exponential_integrators.res_multistep_cfg_pp, is_cfg_pp=True),
    "res_multistep_ancestral_cfg_pp": SamplerEntry(
        exponential_integrators.res_multistep_ancestral_cfg_pp, is_cfg_pp=True
    ),
    "exp_heun_2_x0": SamplerEntry(exponential_integrators.exp_heun_2_x0),
    "exp_heun_2_x0_sde": SamplerEntry(exponential_integrators.exp_heun_2_x0_sde),
    "seeds_2": SamplerEntry(exponential_integrators.seeds_2),
    "seeds_3": SamplerEntry(exponential_integrators.seeds_3),
    "er_sde": SamplerEntry(exponential_integrators.er_sde),
    "lms": SamplerEntry(linear_multistep.lms),
    "ipndm": SamplerEntry(linear_multistep.ipndm),
    "ipndm_v": SamplerEntry(linear_multistep.ipndm_v),
    "deis": SamplerEntry(linear_multistep.deis),
    "plms": SamplerEntry(linear_multistep.plms),
    "sa_solver": SamplerEntry(sa_solver.sa_solver),
    "sa_solver_pece": SamplerEntry(sa_solver.sa_solver_pece),
    "uni_pc": SamplerEntry(unipc.uni_pc, discard_penultimate=True),
    "uni_pc_bh2": SamplerEntry(unipc.uni_pc_bh2, discard_penultimate=True),
    "ddim": SamplerEntry(euler.euler),
    # A1111 divides the cfg so that its usual numbers can stay: CFG++ wants values below 1.
    "ddim_cfg_pp": SamplerEntry(euler.euler_cfg_pp, is_cfg_pp=True, cfg_scale=1 / 12.5),
    "ddpm": SamplerEntry(ddpm_lcm.ddpm),
    "lcm": SamplerEntry(ddpm_lcm.lcm),
}


def needs_negative(choice: SamplerChoice) -> bool:
    """Whether the sampler needs the negative text even where cfg does not (CFG++)."""
    return SAMPLER_FUNCTIONS[choice.sampler].is_cfg_pp
