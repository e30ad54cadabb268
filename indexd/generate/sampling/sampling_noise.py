"""The noise of the steps of one image: independent from step to step, or increments of one Brownian path.

Drawn on the CPU in float32 and then moved, so that a seed means the same on every GPU and an image never depends on
what else is being made.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

_CELLS_LOG2 = 16
_MAX_CACHED_NODES = 64
_MASK = 2**64 - 1


class SamplerNoise(Protocol):
    """Unit noise for the step from one level to another."""

    def __call__(self, sigma: float, target: float) -> torch.Tensor:
        """A tensor of the latents' shape, variance 1."""
        ...


class NormalNumbers(Protocol):
    """A generator of unit normal numbers."""

    def randn(self, shape: Sequence[int]) -> torch.Tensor:
        """The next tensor, float32, on the CPU."""
        ...


@dataclass(frozen=True, slots=True)
class TorchNormals:
    """The numbers of a torch generator on the CPU."""

    rng: torch.Generator

    def randn(self, shape: Sequence[int]) -> torch.Tensor:
        """`torch.randn`."""
        return torch.randn(tuple(shape), generator=self.rng, dtype=torch.float32)


@dataclass(frozen=True, slots=True)
class BatchPlace:
    """The place of an image in a batch whose noise is drawn at once; alone by default."""

    size: int = 1
    index: int = 0

    def whole_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the batch for the shape (1, ...) of an image."""
        return (self.size, *shape[1:])

    def own_part(self, drawn: torch.Tensor) -> torch.Tensor:
        """The image's part (1, ...) of what was drawn for the batch."""
        return drawn[self.index : self.index + 1]

    def draw(self, normals: NormalNumbers, shape: Sequence[int]) -> torch.Tensor:
        """Draw for the batch, and answer the image's part."""
        return self.own_part(normals.randn(self.whole_shape(shape)))


_ALONE = BatchPlace()


class IndependentNoise:
    """New noise for every step, drawn one after the other from one generator."""

    def __init__(self, normals: NormalNumbers, like: torch.Tensor, batch: BatchPlace = _ALONE) -> None:
        self._normals = normals
        self._like = like
        self._batch = batch

    def __call__(self, sigma: float, target: float) -> torch.Tensor:
        """The next of the sequence; the levels do not matter."""
        del sigma, target
        return self._batch.draw(self._normals, self._like.shape).to(self._like)


class TorchsdeNoise:
    """The noise of SDE samplers in ComfyUI and A1111: k-diffusion's BrownianTreeNoiseSampler over torchsde's tree.

    The seed is the tree's entropy, `ends` its lowest and highest level. `normals_of_seed` replaces torchsde's draws, for the
    numbers of a GPU. Raises ImportError without torchsde.
    """

    def __init__(
        self,
        like: torch.Tensor,
        ends: tuple[float, float],
        seed: int,
        normals_of_seed: Callable[[int], NormalNumbers] | None,
        batch: BatchPlace = _ALONE,
    ) -> None:
        import torchsde  # type: ignore[import-untyped]

        self._like = like
        self._batch = batch
        self._normals_of_seed = normals_of_seed
        low, high = (torch.tensor(end, dtype=torch.float32) for end in ends)
        with self._own_draws():
            self._tree = torchsde.BrownianTree(low, torch.zeros(batch.whole_shape(like.shape)), high, entropy=seed)

    def __call__(self, sigma: float, target: float) -> torch.Tensor:
        """The increment between the two levels in units of its spread; its sign is that of the direction."""
        low, high = (torch.tensor(level, dtype=torch.float32) for level in sorted((sigma, target)))
        with self._own_draws():
            step = self._batch.own_part(self._tree(low, high))
        sign = 1 if sigma < target else -1
        return (step * sign / (high - low).sqrt()).to(self._like)

    @contextmanager
    def _own_draws(self) -> Iterator[None]:
        """torchsde has no argument for its generator, so its function is replaced while the tree is built or asked.

        Its warnings about a level that is a rounding error outside the tree are of no use.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Should have t", UserWarning)
            with self._replaced_generator():
                yield

    @contextmanager
    def _replaced_generator(self) -> Iterator[None]:
        if self._normals_of_seed is None:
            yield
            return
        from torchsde._brownian import brownian_interval  # type: ignore[import-untyped]

        draws, normals_of_seed = brownian_interval._randn, self._normals_of_seed

        def replacement(size: Sequence[int], dtype: torch.dtype, device: Any, seed: Any) -> torch.Tensor:
            return normals_of_seed(int(seed)).randn(size).to(device=device, dtype=dtype)

        brownian_interval._randn = replacement
        try:
            yield
        finally:
            brownian_interval._randn = draws


class BrownianNoise:
    """Correlated noise: increments of one Brownian motion over the noise levels `low` .. `high`.

    Two overlapping steps use the same path, and another number of steps samples the same path more finely: with more steps
    an image of an SDE sampler changes little. The path is fixed by its ends and halved again and again: the middle of a
    stretch is drawn from a seed of its own, given the two ends (Lévy's construction; the "virtual Brownian tree" of
    Li et al., arXiv 2001.01328). Levels are rounded to 65 536 equal stretches of their logarithm, and an increment is
    divided by the rounded length, so that its variance is exactly 1.
    """

    def __init__(self, rng: torch.Generator, like: torch.Tensor, low: float, high: float) -> None:
        self._entropy = int(torch.randint(0, 2**63 - 1, (), generator=rng))
        self._like = like
        self._log_low = math.log(low)
        self._span = max(math.log(high) - self._log_low, 1e-6)
        self._cache: OrderedDict[int, torch.Tensor] = OrderedDict()

    def __call__(self, sigma: float, target: float) -> torch.Tensor:
        """The path's increment from the higher to the lower level, in units of its own spread."""
        upper, lower = self._cell(max(sigma, target)), self._cell(min(sigma, target))
        if upper == lower:
            upper, lower = (upper + 1, lower) if upper < 1 << _CELLS_LOG2 else (upper, lower - 1)
        step = self._value(lower) - self._value(upper)
        return (step / math.sqrt(self._level(upper) - self._level(lower))).to(self._like)

    def _cell(self, sigma: float) -> int:
        share = (math.log(sigma) - self._log_low) / self._span
        return min(max(round(share * (1 << _CELLS_LOG2)), 0), 1 << _CELLS_LOG2)

    def _level(self, cell: int) -> float:
        return math.exp(self._log_low + self._span * cell / (1 << _CELLS_LOG2))

    def _value(self, cell: int) -> torch.Tensor:
        """The path at a cell's level; 0 at the lowest."""
        left, right = 0, 1 << _CELLS_LOG2
        if cell == left:
            return torch.zeros(self._like.shape)
        if cell == right:
            return self._end()
        at_left, at_right = torch.zeros(self._like.shape), self._end()
        while True:
            middle = (left + right) // 2
            value = self._middle(left, right, middle, at_left, at_right)
            if cell == middle:
                return value
            if cell < middle:
                right, at_right = middle, value
            else:
                left, at_left = middle, value

    def _end(self) -> torch.Tensor:
        top = 1 << _CELLS_LOG2
        return self._cached(top, lambda: self._draw(top) * math.sqrt(self._level(top) - self._level(0)))

    def _middle(
        self, left: int, right: int, middle: int, at_left: torch.Tensor, at_right: torch.Tensor
    ) -> torch.Tensor:
        low, between, high = self._level(left), self._level(middle), self._level(right)
        share = (between - low) / (high - low)
        spread = math.sqrt((between - low) * (high - between) / (high - low))
        return self._cached(middle, lambda: torch.lerp(at_left, at_right, share) + spread * self._draw(middle))

    def _cached(self, cell: int, make: _TensorFactory) -> torch.Tensor:
        if cell not in self._cache:
            self._cache[cell] = make()
            while len(self._cache) > _MAX_CACHED_NODES:
                self._cache.popitem(last=False)
        self._cache.move_to_end(cell)
        return self._cache[cell]

    def _draw(self, cell: int) -> torch.Tensor:
        generator = torch.Generator("cpu").manual_seed(_splitmix64(self._entropy, cell))
        return torch.randn(self._like.shape, generator=generator, dtype=torch.float32)


class _TensorFactory(Protocol):
    def __call__(self) -> torch.Tensor: ...


def _splitmix64(entropy: int, place: int) -> int:
    """A seed for one place of the tree (the finaliser of SplitMix64, Steele et al., OOPSLA 2014)."""
    mixed = (entropy + (place + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)
