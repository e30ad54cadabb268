"""OFT, GLoRA and IA3: changes that depend on the weights of the module, written as the difference W' - W.

OFT (arXiv 2306.07280) turns W by a block-diagonal rotation R. kohya's sd-scripts (networks/oft.py) and LyCORIS (diag_oft.py) store
`oft_blocks` and turn outputs: W' = R^T W, with R = (I + Q) (I - Q)^-1, Q = blocks - blocks^T, and |Q| at most `alpha` * outputs.
peft and OneTrainer store `oft_R`, the upper triangles of Q, and turn inputs: W' = W R^T, with R = I + 2Q + 2Q^2 + 2Q^3 + Q^4, their
default series for the same function (peft/tuners/oft/layer.py).
GLoRA (arXiv 2306.07967; lycoris/modules/glora.py): W' = W + s * (W A + B), A and B products of two matrices.
IA3 (arXiv 2205.05638) scales inputs or outputs: by 1 + `weight` in LyCORIS (ia3.py), by `ia3_l` in peft, there with the bias.
Between weight 0 and 1 the difference is scaled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

TRANSFORM_KEY_SUFFIXES = {
    ".oft_blocks": "oft_blocks",
    ".rescale": "oft_rescale",
    ".oft_R.weight": "oft_triangles",
    ".a1.weight": "glora_a1",
    ".a2.weight": "glora_a2",
    ".b1.weight": "glora_b1",
    ".b2.weight": "glora_b2",
    ".on_input": "ia3_on_input",
    ".ia3_l": "ia3_factor",
}
IA3_WEIGHT = "ia3_weight"
"""The part that LyCORIS calls `weight`: only beside `on_input` is it one of IA3."""
_GLORA_PARTS = ("glora_a1", "glora_a2", "glora_b1", "glora_b2")


def is_transform(parts: Mapping[str, torch.Tensor]) -> bool:
    """Whether a module's weights are those of OFT, GLoRA or IA3."""
    return any(part.startswith(("oft_", "glora_", "ia3_")) for part in parts)


def weight_difference(
    parts: Mapping[str, torch.Tensor], weight: torch.Tensor, alpha: float | None
) -> torch.Tensor | None:
    """W' - W in float32, in the shape of `weight` (out, in, ...); None where parts are missing.

    Raises ValueError or RuntimeError where the parts do not fit the weight.
    """
    found = {name: part.float() for name, part in parts.items()}
    if "oft_blocks" in found:
        turned = _turn_outputs(found["oft_blocks"], weight, alpha)
        if "oft_rescale" in found:
            turned = turned * found["oft_rescale"].reshape(-1, *[1] * (weight.ndim - 1))
        return turned - weight
    if "oft_triangles" in found:
        return _turn_inputs(found["oft_triangles"], weight) - weight
    if set(_GLORA_PARTS) <= found.keys():
        return _glora(*(found[part].flatten(1) for part in _GLORA_PARTS), weight=weight, alpha=alpha)
    if IA3_WEIGHT in found and "ia3_on_input" in found:
        axis = 1 if bool(found["ia3_on_input"].any()) else 0
        return weight * _along(found[IA3_WEIGHT], weight, axis)
    if "ia3_factor" in found:
        return weight * (_along(found["ia3_factor"], weight, peft_ia3_axis(found["ia3_factor"])) - 1)
    return None


def peft_ia3_axis(factor: torch.Tensor) -> int:
    """peft stores factors of inputs as (1, in, ...) and those of outputs as (out, 1, ...)."""
    return 1 if factor.ndim > 1 and factor.shape[0] == 1 else 0


def _turn_outputs(blocks: torch.Tensor, weight: torch.Tensor, alpha: float | None) -> torch.Tensor:
    if blocks.ndim != 3:
        raise ValueError("butterfly OFT (BOFT) is not supported")
    count, size, _ = blocks.shape
    skew = blocks - blocks.transpose(1, 2)
    bound = (alpha or 0.0) * len(weight)
    length = float(skew.norm())
    if 0 < bound < length:
        skew = skew * (bound / length)
    unit = torch.eye(size)
    rotations = (unit + skew) @ torch.linalg.inv(unit - skew)
    rows = weight.reshape(count, size, -1)
    return torch.einsum("bij,bik->bjk", rotations, rows).reshape(weight.shape)


def _turn_inputs(triangles: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    size = (1 + math.isqrt(1 + 8 * triangles.shape[1])) // 2
    rows, columns = torch.triu_indices(size, size, 1)
    skew = torch.zeros(len(triangles), size, size)
    skew[:, rows, columns] = triangles
    skew = skew - skew.transpose(1, 2)
    squared = skew @ skew
    cubed = squared @ skew
    rotations = torch.eye(size) + 2 * skew + 2 * squared + 2 * cubed + cubed @ skew
    flat = weight.flatten(1).reshape(len(weight), -1, size)
    if len(rotations) not in (1, flat.shape[1]):
        raise ValueError("the blocks do not cover the inputs")
    return torch.einsum("obk,bjk->obj", flat, rotations.expand(flat.shape[1], -1, -1)).reshape(weight.shape)


def _glora(
    a1: torch.Tensor,
    a2: torch.Tensor,
    b1: torch.Tensor,
    b2: torch.Tensor,
    *,
    weight: torch.Tensor,
    alpha: float | None,
) -> torch.Tensor:
    """LyCORIS has a1 (rank, in), a2 (in, rank), b1 (rank, in), b2 (out, rank); the first GLoRA files had each pair reversed."""
    out, into = len(weight), weight.shape[1]
    if b2.shape[0] == out and a2.shape[0] == into and a1.shape[0] == b1.shape[0]:
        rank, inner, added = a1.shape[0], a2 @ a1, b2 @ b1
    else:
        rank, inner, added = a2.shape[0], a1 @ a2, b1 @ b2
    scale = 1.0 if alpha is None else alpha / rank
    changed = torch.einsum("oi...,ij->oj...", weight, inner)
    return scale * (changed + added.reshape(weight.shape))


def _along(factors: torch.Tensor, weight: torch.Tensor, axis: int) -> torch.Tensor:
    if factors.numel() != weight.shape[axis]:
        raise ValueError("as many factors as inputs or outputs are needed")
    return factors.reshape([-1 if place == axis else 1 for place in range(weight.ndim)])
