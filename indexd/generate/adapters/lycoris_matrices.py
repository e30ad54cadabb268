"""LoHa, LoKr and Tucker's form written as the two matrices of a LoRA: exact, by what products of matrices are.

LoHa (arXiv 2108.06098): W' = W + s * (A1 @ B1) * (A2 @ B2), element by element. Such a product of two matrices of rank r is a
matrix of rank r*r, whose columns and rows are the products of theirs.
LoKr (arXiv 2212.10650): W' = W + s * kron(C, U @ V) = s * kron(C, U) @ kron(1, V), and the same with 1 and C exchanged.
Tucker's form of a convolution has a kernel of its own between two 1x1 ones, which is multiplied into the second here.
Names, scales and the order of axes are those of LyCORIS (lycoris/modules/locon.py, loha.py, lokr.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

PRODUCT_KEY_SUFFIXES = {
    ".hada_w1_a": "loha_a1",
    ".hada_w1_b": "loha_b1",
    ".hada_w2_a": "loha_a2",
    ".hada_w2_b": "loha_b2",
    ".lokr_w1": "lokr_c",
    ".lokr_w1_a": "lokr_ca",
    ".lokr_w1_b": "lokr_cb",
    ".lokr_w2": "lokr_d",
    ".lokr_w2_a": "lokr_u",
    ".lokr_w2_b": "lokr_v",
    ".lokr_t2": "lokr_t",
    ".hada_t1": "loha_t1",
    ".hada_t2": "loha_t2",
    ".lora_mid.weight": "mid",
}

ModuleParts = Mapping[str, torch.Tensor]


def is_product(parts: ModuleParts) -> bool:
    """Whether a module's weights are those of LoHa or LoKr."""
    return any(part.startswith(("loha_", "lokr_")) for part in parts)


def product_to_matrices(
    parts: ModuleParts, shape: tuple[int, ...], alpha: float | None
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """`down` (rank, in, …) and `up` (out, rank, …) for a module of this weight shape; None where parts are missing."""
    found = _merge_kernels({name: weight.float() for name, weight in parts.items() if name != "alpha"})
    if found.keys() == {"loha_a1", "loha_b1", "loha_a2", "loha_b2"}:
        return _loha(found, shape, alpha)
    return _lokr(found, shape, alpha)


def merge_tucker_kernel(kernel: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Tucker's kernel (rank, rank, height, width) multiplied into `down` (rank, in): (rank, in, height, width)."""
    return torch.einsum("mrkl,ri->mikl", kernel, down)


def _merge_kernels(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same module without Tucker's kernels; beside one, what leads out is stored as (rank, out)."""
    for kernel, out, into in (
        ("loha_t1", "loha_a1", "loha_b1"),
        ("loha_t2", "loha_a2", "loha_b2"),
        ("lokr_t", "lokr_u", "lokr_v"),
    ):
        if {kernel, out, into} <= found.keys():
            found[into] = merge_tucker_kernel(found.pop(kernel), found[into])
            found[out] = found[out].T.contiguous()
    return found


def _loha(found: ModuleParts, shape: tuple[int, ...], alpha: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    a1, a2 = found["loha_a1"], found["loha_a2"]
    b1, b2 = found["loha_b1"].flatten(1), found["loha_b2"].flatten(1)
    rank = b1.shape[0]
    scale = 1.0 if alpha is None else alpha / rank
    up = torch.einsum("oi,oj->oij", a1, a2).flatten(1)
    down = torch.einsum("in,jn->ijn", b1, b2).flatten(0, 1)
    if up.shape[1] > min(up.shape[0], down.shape[1]):
        # More columns than the matrix has: the matrix itself and a one beside it are smaller.
        whole = up @ down
        up, down = (
            (torch.eye(len(whole)), whole) if len(whole) <= whole.shape[1] else (whole, torch.eye(whole.shape[1]))
        )
    return _reshape_matrices(down, up * scale, shape)


def _lokr(found: ModuleParts, shape: tuple[int, ...], alpha: float | None) -> tuple[torch.Tensor, torch.Tensor] | None:
    rank: int | None = None
    if "lokr_ca" in found and "lokr_cb" in found:
        outer = found["lokr_ca"] @ found["lokr_cb"]
        rank = found["lokr_cb"].shape[0]
    elif "lokr_c" in found:
        outer = found["lokr_c"]
    else:
        return None
    if "lokr_u" in found and "lokr_v" in found:
        left, right = found["lokr_u"], found["lokr_v"].flatten(1)
        rank = right.shape[0]
    elif "lokr_d" in found:
        # (c, d, kernel…): the kernel's places are further columns.
        inner = found["lokr_d"].flatten(1)
        left, right = (
            (torch.eye(len(inner)), inner) if len(inner) <= inner.shape[1] else (inner, torch.eye(inner.shape[1]))
        )
    else:
        return None
    # Where both matrices are whole there is no rank, and LyCORIS leaves alpha out of account.
    scale = 1.0 if alpha is None or rank is None else alpha / rank
    rows, columns = outer.shape
    if rows < columns:
        up, down = torch.kron(torch.eye(rows), left), _kron_columns(outer, right, shape)
    else:
        up, down = torch.kron(outer, left), _kron_columns(torch.eye(columns), right, shape)
    return _reshape_matrices(down, up * scale, shape)


def _kron_columns(outer: torch.Tensor, right: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """kron over the input channels alone: the places of a convolution's kernel stay the last columns."""
    places = int(torch.tensor(shape[2:]).prod()) if len(shape) > 2 else 1
    inner = right.reshape(len(right), -1, places)
    product = torch.einsum("ab,rdk->arbdk", outer, inner)
    return product.reshape(len(outer) * len(right), -1)


def _reshape_matrices(
    down: torch.Tensor, up: torch.Tensor, shape: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    if len(shape) > 2:
        places = int(torch.tensor(shape[2:]).prod())
        if down.shape[1] == shape[1] * places:
            down = down.reshape(len(down), *shape[1:])
        up = up[..., None, None]
    return down, up
