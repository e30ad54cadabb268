"""The stages of a render as a recipe records them: every choice made, names of files with their hashes, no paths.

A field that is None was left to the picture's own (prompt, steps, …). Hashes and what memory allowed (`tile_used`) are
filled in by the worker.
"""

from __future__ import annotations

from indexd_schemas.recipe_part import ModelRef, RecipePart


class PassRecipe(RecipePart):
    """What a stage that denoises has of its own."""

    denoise: float
    prompt: str | None = None
    negative_prompt: str | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None


class HiresRecipe(PassRecipe):
    """The second pass, its size in pixels. `upscaler` is one of HIRES_UPSCALERS, or `model` names a file that works in tiles."""

    width: int
    height: int
    upscaler: str | None = None
    model: ModelRef | None = None
    tile: int = 512
    overlap: int = 64
    tile_used: int | None = None


class DetailRecipe(PassRecipe):
    """One detector and what is done with its finds (shares as in a job file)."""

    detector: ModelRef
    kinds: tuple[str, ...] = ()
    confidence: float
    max: int
    padding: float
    size: int
    feather: float


class UpscaleRecipe(RecipePart):
    """A model that enlarges in tiles. `scale` None = the model's own; `tile_used` is smaller than `tile` where memory was short."""

    model: ModelRef
    scale: float | None = None
    tile: int
    overlap: int
    tile_used: int | None = None


class RefineRecipe(PassRecipe):
    """Another pass over the finished picture in tiles; `prompts` are one a tile, row by row."""

    tile: int
    overlap: int
    prompts: tuple[str, ...] | None = None


class ResizeRecipe(RecipePart):
    """The last size: sides, a factor, or the longer side; one of the three."""

    width: int | None = None
    height: int | None = None
    scale: float | None = None
    max_side: int | None = None
