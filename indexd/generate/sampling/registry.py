"""Which function of ours runs which sampler, and what noise it is given: the whole list in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from indexd.generate.sampling import dpm, dpmpp, euler, exponential, markov, multistep, stochastic_adams, unipc
from indexd.generate.sampling.run import SolverFunction
from indexd_schemas.samplers import SamplerChoice, runs_in_diffusers


@dataclass(frozen=True, slots=True)
class SamplerEntry:
    """`brownian`: noise along one path instead of new noise a step. `skip_last_but_one`: see `schedules.sigmas`.
    `cfg_scale` is what the recipe's cfg is multiplied with; `plus` needs the unguided picture whatever the cfg."""

    sample: SolverFunction
    uses_brownian_noise: bool = False
    discard_penultimate: bool = False
    is_cfg_pp: bool = False
    cfg_scale: float = 1.0


NATIVE_SAMPLERS: Mapping[str, SamplerEntry] = {
    "euler": SamplerEntry(euler.euler),
    "euler_ancestral": SamplerEntry(euler.euler_ancestral),
    "euler_cfg_pp": SamplerEntry(euler.euler_cfg_pp, is_cfg_pp=True),
    "euler_ancestral_cfg_pp": SamplerEntry(euler.euler_ancestral_cfg_pp, is_cfg_pp=True),
    "heun": SamplerEntry(euler.heun),
    "heunpp2": SamplerEntry(euler.heunpp2),
    "restart": SamplerEntry(euler.restart),
    "gradient_estimation": SamplerEntry(euler.gradient_estimation),
    "gradient_estimation_cfg_pp": SamplerEntry(euler.gradient_estimation_cfg_pp, is_cfg_pp=True),
    "dpm_2": SamplerEntry(dpm.dpm_2, discard_penultimate=True),
    "dpm_2_ancestral": SamplerEntry(dpm.dpm_2_ancestral, discard_penultimate=True),
    "dpm_fast": SamplerEntry(dpm.dpm_fast),
    "dpm_adaptive": SamplerEntry(dpm.dpm_adaptive),
    "dpmpp_2s_ancestral": SamplerEntry(dpmpp.dpmpp_2s_ancestral),
    "dpmpp_2s_ancestral_cfg_pp": SamplerEntry(dpmpp.dpmpp_2s_ancestral_cfg_pp, is_cfg_pp=True),
    "dpmpp_sde": SamplerEntry(dpmpp.dpmpp_sde, uses_brownian_noise=True),
    "dpmpp_2m": SamplerEntry(dpmpp.dpmpp_2m),
    "dpmpp_2m_cfg_pp": SamplerEntry(dpmpp.dpmpp_2m_cfg_pp, is_cfg_pp=True),
    "dpmpp_2m_sde": SamplerEntry(dpmpp.dpmpp_2m_sde, uses_brownian_noise=True),
    "dpmpp_2m_sde_heun": SamplerEntry(dpmpp.dpmpp_2m_sde_heun, uses_brownian_noise=True),
    "dpmpp_3m_sde": SamplerEntry(dpmpp.dpmpp_3m_sde, uses_brownian_noise=True),
    "res_multistep": SamplerEntry(exponential.res_multistep),
    "res_multistep_ancestral": SamplerEntry(exponential.res_multistep_ancestral),
    "res_multistep_cfg_pp": SamplerEntry(exponential.res_multistep_cfg_pp, is_cfg_pp=True),
    "res_multistep_ancestral_cfg_pp": SamplerEntry(exponential.res_multistep_ancestral_cfg_pp, is_cfg_pp=True),
    "exp_heun_2_x0": SamplerEntry(exponential.exp_heun_2_x0),
    "exp_heun_2_x0_sde": SamplerEntry(exponential.exp_heun_2_x0_sde),
    "seeds_2": SamplerEntry(exponential.seeds_2),
    "seeds_3": SamplerEntry(exponential.seeds_3),
    "er_sde": SamplerEntry(exponential.er_sde),
    "lms": SamplerEntry(multistep.lms),
    "ipndm": SamplerEntry(multistep.ipndm),
    "ipndm_v": SamplerEntry(multistep.ipndm_v),
    "deis": SamplerEntry(multistep.deis),
    "sa_solver": SamplerEntry(stochastic_adams.sa_solver),
    "sa_solver_pece": SamplerEntry(stochastic_adams.sa_solver_pece),
    "uni_pc": SamplerEntry(unipc.uni_pc, discard_penultimate=True),
    "uni_pc_bh2": SamplerEntry(unipc.uni_pc_bh2, discard_penultimate=True),
    "ddim": SamplerEntry(euler.euler),
    # A1111 divides the cfg so that its usual numbers can stay: CFG++ wants values below 1.
    "ddim_cfg_pp": SamplerEntry(euler.euler_cfg_pp, is_cfg_pp=True, cfg_scale=1 / 12.5),
    "ddpm": SamplerEntry(markov.ddpm),
    "lcm": SamplerEntry(markov.lcm),
}


def needs_negative(choice: SamplerChoice) -> bool:
    """Whether the sampler needs the negative text even where cfg does not (CFG++)."""
    return not runs_in_diffusers(choice) and NATIVE_SAMPLERS[choice.sampler].is_cfg_pp
