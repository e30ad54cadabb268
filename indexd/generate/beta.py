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


class BetaOverTimesteps:
    """Mixed in before a diffusers scheduler whose `use_beta_sigmas` is set."""

    alphas_cumprod: torch.Tensor

    def _convert_to_beta(self, in_sigmas: Any, num_inference_steps: int, **_unused: Any) -> NDArray[np.float64]:
        """`num_inference_steps` sigmas, falling. The last stands above the smallest; the final zero comes after it."""
        del in_sigmas
        kept = self.alphas_cumprod.double().cpu().numpy()
        sigmas = np.sqrt((1 - kept) / kept)
        shares = beta.ppf(1 - np.linspace(0, 1, num_inference_steps, endpoint=False), _ALPHA, _BETA)
        return np.asarray(np.interp(shares * (len(sigmas) - 1), np.arange(len(sigmas)), sigmas), dtype=np.float64)
