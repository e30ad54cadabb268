"""Weights that are no numbers: named when a file is loaded, because a render would blame them on the number format."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from indexd.errors import RenderFailed


def raise_if_not_finite(what: str, weights: Mapping[str, torch.Tensor], part: str = "it") -> None:
    """Raises RenderFailed with the first weight of `what` (a noun and the file's name) that has NaN or infinite values."""
    bad = next((key for key, weight in weights.items() if not _is_finite(weight)), None)
    if bad is not None:
        raise RenderFailed(f"{what} is damaged: {part} has values that are no numbers in {bad}; download it again")


def _is_finite(weight: torch.Tensor) -> bool:
    return not weight.is_floating_point() or bool(
        torch.isfinite(weight.float() if weight.element_size() == 1 else weight).all()
    )
