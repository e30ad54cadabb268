"""Which program's random numbers an image is made of (docs/samplers.md)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from indexd_schemas.jobs.job_part import Size
from indexd_schemas.limits import MAX_SEED
from indexd_schemas.recipe_part import RecipePart

NoiseSourceName = Literal["indexd", "comfyui", "comfyui_cpu", "a1111", "a1111_cpu"]
"""`comfyui` and `a1111` as they draw on an NVIDIA GPU, `..._cpu` as on a CPU."""
BrownianTreeName = Literal["cpu", "gpu", "indexd"]
"""Where the noise of SDE samplers is drawn: torchsde's tree on a CPU or a GPU, or indexd's own path."""
TimestepRounding = Literal["interpolated", "rounded"]
"""The time step of a noise level between two trained ones: between their time steps, or that of the nearest (ComfyUI)."""

MAX_BATCH = 4096


def check_noise(
    source: NoiseSourceName, seed_delta: int, resize_from: str | None, batch: tuple[int, int], brownian: str | None
) -> None:
    """Raises ValueError for options that the source does not have. `batch` is (size, index)."""
    is_a1111, is_comfyui = source.startswith("a1111"), source.startswith("comfyui")
    if (seed_delta or resize_from) and not is_a1111:
        raise ValueError(f"seed_delta and resize_from belong to A1111's noise; source is {source}")
    if batch != (1, 0) and not is_comfyui:
        raise ValueError(f"batch_size and batch_index belong to ComfyUI's noise; source is {source}")
    if batch[1] >= batch[0]:
        raise ValueError(f"batch_index counts from 0, so it must be below batch_size ({batch[1]} and {batch[0]})")
    if brownian not in (None, "indexd") and source == "indexd":
        raise ValueError("brownian needs the noise of ComfyUI or A1111; source is indexd")


class RecipeNoise(RecipePart):
    """The source of an image's random numbers.

    A1111: `seed_delta` is its "ENSD", added to the seed for the noise of the steps; `resize_from` its "Seed resize from".
    ComfyUI: `batch_index` is the image's place, from 0, in a batch of `batch_size` that one seed made. `brownian` None = as
    the program has it by default.
    """

    source: NoiseSourceName
    seed_delta: int = Field(0, ge=-MAX_SEED, le=MAX_SEED)
    resize_from: Size | None = None
    batch_size: int = Field(1, ge=1, le=MAX_BATCH)
    batch_index: int = Field(0, ge=0)
    brownian: BrownianTreeName | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_noise(self.source, self.seed_delta, self.resize_from, (self.batch_size, self.batch_index), self.brownian)
        return self
