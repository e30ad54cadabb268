"""The random numbers of one pass, as indexd, ComfyUI or A1111 draws them.

Everything is drawn in float32 on the CPU, so that a seed means the same on every machine; what the other programs draw on an
NVIDIA GPU is computed (`CudaNormals`). ComfyUI: comfy/sample.py, and default_noise_sampler of comfy/k_diffusion/sampling.py.
A1111: ImageRNG of modules/rng.py, and create_noise_sampler of modules/sd_samplers_common.py.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from indexd.generate.sampling.noise_levels import NoiseLevels
from indexd.generate.sampling.philox import CudaNormals
from indexd.generate.sampling.sampling_noise import (
    BatchPlace,
    BrownianNoise,
    IndependentNoise,
    NormalNumbers,
    SamplerNoise,
    TorchNormals,
    TorchsdeNoise,
)
from indexd_schemas.jobs.job_part import parse_sides
from indexd_schemas.noise import RecipeNoise
from indexd_schemas.recipe import RecipeVariation

_NEARLY_EQUAL = 0.9995
_SEEDS = 2**64
# A1111's samplers over time steps (modules/sd_samplers_timesteps.py) start at unit variance, as diffusers does.
_A1111_TIMESTEP_SAMPLERS = ("ddim", "ddim_cfg_pp", "plms", "uni_pc")
_COMFYUI_RANDOM_MASK_SAMPLER = "ddim"


@dataclass(frozen=True, slots=True)
class LevelRange:
    """The lowest level above 0 and the highest of a run; `schedule_highest` is of the schedule whose last part the run takes."""

    lowest: float
    highest: float
    schedule_highest: float


class NoiseSource(ABC):
    """All random numbers of one pass.

    `encoding_rng` draws the sample of the VAE's distribution; None = its mean, as in ComfyUI. (A1111 draws it from a
    generator that no seed sets.)
    """

    encoding_rng: torch.Generator | None = None

    @abstractmethod
    def draw(self, shape: Sequence[int], variation: RecipeVariation | None = None) -> torch.Tensor:
        """Unit noise of this shape (1, c, h, w) to start from; a variation rotates it towards the noise of a second seed."""

    @abstractmethod
    def independent(self, like: torch.Tensor) -> SamplerNoise:
        """The noise of ancestral samplers. Called after `draw`."""

    @abstractmethod
    def brownian(self, like: torch.Tensor, levels: LevelRange) -> SamplerNoise:
        """The noise of SDE samplers. Called after `draw`."""

    def around_mask(self, sampler: str, noise: torch.Tensor) -> torch.Tensor:
        """The unit noise on what a mask keeps, for a pass that starts from `noise`."""
        del sampler
        return noise

    def starts_at_unit_variance(self, sampler: str, *, is_highest: bool, has_latents: bool) -> bool:
        """Whether the first noise is multiplied by sqrt(1 + sigma^2) instead of sigma.

        As in ComfyUI where the first level is the highest of the model. `has_latents`: the pass does not start from noise alone.
        """
        del sampler, has_latents
        return is_highest


class IndexdNoise(NoiseSource):
    """One CPU generator for everything, and a path of its own for SDE samplers over all levels of the model."""

    def __init__(self, rng: torch.Generator, levels: NoiseLevels) -> None:
        self.encoding_rng = self._rng = rng
        self._levels = levels

    def draw(self, shape: Sequence[int], variation: RecipeVariation | None = None) -> torch.Tensor:
        """The next numbers of the generator."""
        drawn = TorchNormals(self._rng).randn(shape)
        if variation is None:
            return drawn
        return slerp_noise(drawn, TorchNormals(seeded_generator(variation.seed)).randn(shape), variation.strength)

    def independent(self, like: torch.Tensor) -> SamplerNoise:
        """The same generator, further on."""
        return IndependentNoise(TorchNormals(self._rng), like)

    def brownian(self, like: torch.Tensor, levels: LevelRange) -> SamplerNoise:
        """The path stays the same whatever levels the run has."""
        del levels
        return _own_path(self._rng, like, self._levels)


class _ProgramNoise(NoiseSource):
    """Noise by the rules of another program."""

    def __init__(self, options: RecipeNoise, seed: int, levels: NoiseLevels) -> None:
        self._options = options
        self._seed = seed
        self._levels = levels
        self._on_gpu = not options.source.endswith("_cpu")

    def _normals(self, seed: int, *, on_gpu: bool) -> NormalNumbers:
        seed %= _SEEDS
        return CudaNormals(seed) if on_gpu else TorchNormals(seeded_generator(seed))

    def _tree(
        self, like: torch.Tensor, ends: tuple[float, float], default_on_gpu: bool, batch: BatchPlace
    ) -> SamplerNoise:
        chosen = self._options.brownian
        if chosen == "indexd":
            return _own_path(seeded_generator(self._seed), like, self._levels)
        on_gpu = default_on_gpu if chosen is None else chosen == "gpu"
        return TorchsdeNoise(like, ends, self._seed, CudaNormals if on_gpu else None, batch)


class ComfyNoise(_ProgramNoise):
    """ComfyUI: the first noise from a CPU generator, that of the steps from one on the device with the same seed.

    On the CPU that second seed is one higher. A batch has one seed, and an image is its part of what is drawn for all.
    """

    def draw(self, shape: Sequence[int], variation: RecipeVariation | None = None) -> torch.Tensor:
        """Variations are A1111's, because ComfyUI has none."""
        drawn = self._batch.draw(self._normals(self._seed, on_gpu=False), shape)
        if variation is None:
            return drawn
        second = self._batch.draw(self._normals(variation.seed, on_gpu=False), shape)
        return slerp_noise(drawn, second, variation.strength)

    def independent(self, like: torch.Tensor) -> SamplerNoise:
        """Another generator than that of the start."""
        seed = self._seed if self._on_gpu else self._seed + 1
        return IndependentNoise(self._normals(seed, on_gpu=self._on_gpu), like, self._batch)

    def brownian(self, like: torch.Tensor, levels: LevelRange) -> SamplerNoise:
        """A tree over the levels of the run; on the CPU but for the samplers with `_gpu` in their name."""
        return self._tree(like, (levels.lowest, levels.highest), False, self._batch)

    def around_mask(self, sampler: str, noise: torch.Tensor) -> torch.Tensor:
        """`ddim` is Euler with other noise there, from a CPU generator whose seed is one higher (comfy/samplers.py, KSAMPLER)."""
        if sampler != _COMFYUI_RANDOM_MASK_SAMPLER:
            return noise
        return self._batch.draw(self._normals(self._seed + 1, on_gpu=False), noise.shape).to(noise)

    @property
    def _batch(self) -> BatchPlace:
        return BatchPlace(self._options.batch_size, self._options.batch_index)


class A1111Noise(_ProgramNoise):
    """A1111: one generator for each image, on the GPU unless its setting "Random number generator source" is CPU."""

    def __init__(self, options: RecipeNoise, seed: int, levels: NoiseLevels) -> None:
        super().__init__(options, seed, levels)
        self._generator = self._normals(seed, on_gpu=self._on_gpu)

    def draw(self, shape: Sequence[int], variation: RecipeVariation | None = None) -> torch.Tensor:
        """Noise of another size (`resize_from`) lies in the middle of noise of this one."""
        whole = self._generator.randn(shape)
        size = self._options.resize_from
        # A1111 counts 8 pixels to a latent whatever the model.
        width, height = (side // 8 for side in parse_sides(size)) if size else (shape[-1], shape[-2])
        inner_shape = (*shape[:-2], height, width)
        is_resized = inner_shape != tuple(shape)
        inner = self._normals(self._seed, on_gpu=self._on_gpu).randn(inner_shape) if is_resized else whole
        if variation is not None:
            second = self._normals(variation.seed, on_gpu=self._on_gpu).randn(inner_shape)
            inner = slerp_noise(inner, second, variation.strength)
        if self._options.seed_delta:
            self._generator = self._normals(self._seed + self._options.seed_delta, on_gpu=self._on_gpu)
        return _lay_in_the_middle(whole, inner) if is_resized else inner

    def independent(self, like: torch.Tensor) -> SamplerNoise:
        """The same generator further on, or another one where "ENSD" is set."""
        return IndependentNoise(self._generator, like)

    def brownian(self, like: torch.Tensor, levels: LevelRange) -> SamplerNoise:
        """A tree over the levels of the whole schedule."""
        return self._tree(like, (levels.lowest, levels.schedule_highest), self._on_gpu, BatchPlace())

    def starts_at_unit_variance(self, sampler: str, *, is_highest: bool, has_latents: bool) -> bool:
        """Only in A1111's samplers over time steps, and only from noise alone."""
        del is_highest
        return sampler in _A1111_TIMESTEP_SAMPLERS and not has_latents


def noise_source(options: RecipeNoise | None, seed: int, levels: NoiseLevels) -> NoiseSource:
    """The source that a recipe names, for one pass with this seed."""
    if options is None or options.source == "indexd":
        return IndexdNoise(seeded_generator(seed), levels)
    return (A1111Noise if options.source.startswith("a1111") else ComfyNoise)(options, seed, levels)


def has_torchsde() -> bool:
    """Whether the optional library is installed that has the Brownian tree of ComfyUI and A1111."""
    return importlib.util.find_spec("torchsde") is not None


def seeded_generator(seed: int) -> torch.Generator:
    """A CPU generator for seeds 0 .. 2**64 - 1: on the CPU, so that a seed means the same on every GPU."""
    return torch.Generator("cpu").manual_seed(seed)


def slerp_noise(first: torch.Tensor, second: torch.Tensor, share: float) -> torch.Tensor:
    """From `first` (share 0) to `second` (1) along an arc, column by column, so that the noise keeps its strength.

    Columns as A1111 does it (modules/rng.py: the arc is taken along the height); nearly equal ones are mixed straight.
    """
    norms = [one.norm(dim=2, keepdim=True) for one in (first, second)]
    cosine = ((first / norms[0]) * (second / norms[1])).sum(dim=2, keepdim=True)
    if float(cosine.mean()) > _NEARLY_EQUAL:
        return torch.lerp(first, second, share)
    angle = torch.acos(cosine.clamp(-1, 1))
    sine = torch.sin(angle).clamp(min=1e-6)
    return torch.sin((1 - share) * angle) / sine * first + torch.sin(share * angle) / sine * second


def _own_path(rng: torch.Generator, like: torch.Tensor, levels: NoiseLevels) -> BrownianNoise:
    return BrownianNoise(rng, like, levels.sigma_min / 2, levels.sigma_max)


def _lay_in_the_middle(whole: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """`whole` with `inner` in its middle; what of it is larger is cut off on both sides."""
    laid = whole.clone()
    (top, from_top, height), (left, from_left, width) = (
        _overlap(whole.shape[axis], inner.shape[axis]) for axis in (-2, -1)
    )
    laid[..., top : top + height, left : left + width] = inner[
        ..., from_top : from_top + height, from_left : from_left + width
    ]
    return laid


def _overlap(outer: int, inner: int) -> tuple[int, int, int]:
    """Where the inner length begins in the outer one, from where in it, and how much is taken (A1111's rounding)."""
    shift = (outer - inner) // 2
    return max(shift, 0), max(-shift, 0), inner if shift >= 0 else inner + 2 * shift
