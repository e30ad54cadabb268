"""Which function of ours runs which sampler, and what noise it is given: the whole list in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from indexd.generate.sampling import dpm, dpmpp, euler, exponential, markov, multistep, stochastic_adams, unipc
from indexd.generate.sampling.run import Sampler
from indexd_schemas.samplers import Choice, by_diffusers


@dataclass(frozen=True, slots=True)
class Entry:
    """`brownian`: noise along one path instead of new noise a step. `skip_last_but_one`: see `schedules.sigmas`.
    `cfg_scale` is what the recipe's cfg is multiplied with; `plus` needs the unguided picture whatever the cfg."""

    steps: Sampler
    brownian: bool = False
    skip_last_but_one: bool = False
    plus: bool = False
    cfg_scale: float = 1.0


OURS: Mapping[str, Entry] = {
    "euler": Entry(euler.euler),
    "euler_ancestral": Entry(euler.euler_ancestral),
    "euler_cfg_pp": Entry(euler.euler_cfg_pp, plus=True),
    "euler_ancestral_cfg_pp": Entry(euler.euler_ancestral_cfg_pp, plus=True),
    "heun": Entry(euler.heun),
    "heunpp2": Entry(euler.heunpp2),
    "restart": Entry(euler.restart),
    "gradient_estimation": Entry(euler.gradient_estimation),
    "gradient_estimation_cfg_pp": Entry(euler.gradient_estimation_cfg_pp, plus=True),
    "dpm_2": Entry(dpm.dpm_2, skip_last_but_one=True),
    "dpm_2_ancestral": Entry(dpm.dpm_2_ancestral, skip_last_but_one=True),
    "dpm_fast": Entry(dpm.dpm_fast),
    "dpm_adaptive": Entry(dpm.dpm_adaptive),
    "dpmpp_2s_ancestral": Entry(dpmpp.dpmpp_2s_ancestral),
    "dpmpp_2s_ancestral_cfg_pp": Entry(dpmpp.dpmpp_2s_ancestral_cfg_pp, plus=True),
    "dpmpp_sde": Entry(dpmpp.dpmpp_sde, brownian=True),
    "dpmpp_2m": Entry(dpmpp.dpmpp_2m),
    "dpmpp_2m_cfg_pp": Entry(dpmpp.dpmpp_2m_cfg_pp, plus=True),
    "dpmpp_2m_sde": Entry(dpmpp.dpmpp_2m_sde, brownian=True),
    "dpmpp_2m_sde_heun": Entry(dpmpp.dpmpp_2m_sde_heun, brownian=True),
    "dpmpp_3m_sde": Entry(dpmpp.dpmpp_3m_sde, brownian=True),
    "res_multistep": Entry(exponential.res_multistep),
    "res_multistep_ancestral": Entry(exponential.res_multistep_ancestral),
    "res_multistep_cfg_pp": Entry(exponential.res_multistep_cfg_pp, plus=True),
    "res_multistep_ancestral_cfg_pp": Entry(exponential.res_multistep_ancestral_cfg_pp, plus=True),
    "exp_heun_2_x0": Entry(exponential.exp_heun_2_x0),
    "exp_heun_2_x0_sde": Entry(exponential.exp_heun_2_x0_sde),
    "seeds_2": Entry(exponential.seeds_2),
    "seeds_3": Entry(exponential.seeds_3),
    "er_sde": Entry(exponential.er_sde),
    "lms": Entry(multistep.lms),
    "ipndm": Entry(multistep.ipndm),
    "ipndm_v": Entry(multistep.ipndm_v),
    "deis": Entry(multistep.deis),
    "sa_solver": Entry(stochastic_adams.sa_solver),
    "sa_solver_pece": Entry(stochastic_adams.sa_solver_pece),
    "uni_pc": Entry(unipc.uni_pc, skip_last_but_one=True),
    "uni_pc_bh2": Entry(unipc.uni_pc_bh2, skip_last_but_one=True),
    "ddim": Entry(euler.euler),
    # A1111 divides the cfg so that its usual numbers can stay: CFG++ wants values below 1.
    "ddim_cfg_pp": Entry(euler.euler_cfg_pp, plus=True, cfg_scale=1 / 12.5),
    "ddpm": Entry(markov.ddpm),
    "lcm": Entry(markov.lcm),
}


def asks_for_negative(choice: Choice) -> bool:
    """Whether the sampler needs the negative text even where cfg does not (CFG++)."""
    return not by_diffusers(choice) and OURS[choice.sampler].plus
