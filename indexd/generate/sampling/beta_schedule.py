"""The Beta schedule as its authors and A1111 and ComfyUI mean it: noise levels spread over the *time steps*.

diffusers' `use_beta_sigmas` spreads them over the sigmas instead, which puts five of six steps into the first half of the
noise. Source: Lee et al., "Beta Sampling is All You Need" (arXiv 2407.12173), alpha = beta = 0.6.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta  # type: ignore[import-untyped]

_ALPHA = 0.6
_BETA = 0.6


def beta_sigmas(trained: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """`steps` falling levels of the rising `trained` ones. The last stands above the smallest; the final zero is not in it."""
    shares = beta.ppf(1 - np.linspace(0, 1, steps, endpoint=False), _ALPHA, _BETA)
    return np.asarray(np.interp(shares * (len(trained) - 1), np.arange(len(trained)), trained), dtype=np.float64)


class BetaScheduleMixin:
    """Mixed in before a diffusers scheduler whose `use_beta_sigmas` is set."""

    alphas_cumprod: torch.Tensor

    def _convert_to_beta(self, in_sigmas: Any, num_inference_steps: int, **_unused: Any) -> NDArray[np.float64]:
        del in_sigmas
        kept = self.alphas_cumprod.double().cpu().numpy()
        return beta_sigmas(np.sqrt((1 - kept) / kept), num_inference_steps)
