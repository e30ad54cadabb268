"""Environment variables under which the same numbers give the same bits. Set them before torch is imported."""

from __future__ import annotations

import os

REPRODUCIBLE = {
    # Intel MKL: results do not depend on the alignment of arrays or on the number of threads. AUTO keeps the fastest
    # instruction set of this processor, so other processors may give other bits.
    "MKL_CBWR": "AUTO,STRICT",
    # cuBLAS: a fixed workspace per stream, so that the choice of algorithm does not depend on free memory.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


def set_reproducible_environment() -> None:
    """Set each variable of REPRODUCIBLE that the user has not set."""
    for name, value in REPRODUCIBLE.items():
        os.environ.setdefault(name, value)
