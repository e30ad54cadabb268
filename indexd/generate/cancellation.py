"""Cancels a render within a denoising step, an encoding or a decoding.

The session is asked before each block of the networks: one step of a large image takes minutes on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from indexd.worker.session import RenderSession

_BLOCK_SUFFIXES = ("Block", "Block2D")
"""How the classes of blocks are named in diffusers: BasicTransformerBlock, ResnetBlock2D, UpDecoderBlock2D. A UNet of SDXL has
about a hundred; a hook on every module would slow the launch of its kernels."""


@contextmanager
def cancellable(networks: Iterable[torch.nn.Module], session: RenderSession) -> Iterator[None]:
    """Within the context, running any block of `networks` raises CallCancelled when the call was cancelled."""

    def check(_module: torch.nn.Module, _inputs: object) -> None:
        session.raise_if_cancelled()

    hooks = [
        module.register_forward_pre_hook(check)
        for network in networks
        for module in network.modules()
        if type(module).__name__.endswith(_BLOCK_SUFFIXES)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
