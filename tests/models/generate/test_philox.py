"""A GPU's random numbers on the CPU, against published numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from indexd.generate.sampling.philox import CudaNormals, philox_4x32

# Random123's `kat_vectors`, philox4x32 with ten rounds: counter, key, answer.
KNOWN = {
    "zeros": ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    "ones": ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    "pi": (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_philox_gives_the_published_words(name: str) -> None:
    counter, key, expected = KNOWN[name]
    words = philox_4x32(np.array(counter, np.uint32)[:, None], key)
    assert tuple(words[:, 0]) == expected


def test_numbers_are_those_of_torch_on_a_gpu() -> None:
    """The numbers that A1111's documentation of its generator states for seed 0."""
    expected = [
        [-0.92466259, -0.42534415, -2.6438457, 0.14518388],
        [-0.12086647, -0.57972564, -0.62285122, -0.32838709],
        [-1.07454231, -0.36314407, -1.67105067, 2.26550497],
    ]
    assert torch.allclose(CudaNormals(0).randn((3, 4)), torch.tensor(expected), atol=1e-7)


def test_calls_and_seeds_give_other_numbers_of_unit_spread() -> None:
    first, other = CudaNormals(2**40 + 5), CudaNormals(5)
    drawn = [first.randn((50_000,)), first.randn((50_000,)), other.randn((50_000,))]
    for one in drawn:
        assert float(one.std()) == pytest.approx(1, abs=0.01)
        assert float(one.mean()) == pytest.approx(0, abs=0.02)
    for one, another in ((0, 1), (0, 2), (1, 2)):
        assert abs(float(torch.corrcoef(torch.stack([drawn[one], drawn[another]]))[0, 1])) < 0.02


def test_a_smaller_tensor_has_the_first_numbers_of_a_larger() -> None:
    assert torch.equal(CudaNormals(9).randn((2, 3)).flatten(), CudaNormals(9).randn((4, 5)).flatten()[:6])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_this_gpu_draws_the_same() -> None:
    generator = torch.Generator("cuda").manual_seed(123)
    ours = CudaNormals(123)
    for _ in range(3):
        theirs = torch.randn((1, 4, 32, 32), generator=generator, device="cuda").cpu()
        assert torch.allclose(ours.randn((1, 4, 32, 32)), theirs, atol=2e-5)
