"""Limits of numbers and texts that a job file and a recipe share: each is stated here once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

SIZE_STEP_PX = 8
"""Sides of what is denoised are multiples of this: one latent covers 8 x 8 pixels."""
MIN_SIDE_PX = 64
MAX_SIDE_PX = 16_384
MAX_SEED = 2**64 - 1
MAX_TILE_PX = 4096
MAX_SCALE = 16.0
MAX_WEIGHT = 10.0
PROMPT_CHARACTERS = 20_000

Side = Annotated[int, Field(ge=MIN_SIDE_PX, le=MAX_SIDE_PX, multiple_of=SIZE_STEP_PX)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Share = Annotated[float, Field(ge=0, le=1)]
Steps = Annotated[int, Field(ge=1, le=500)]
Cfg = Annotated[float, Field(ge=0, le=100)]
ClipSkip = Annotated[int, Field(ge=1, le=12)]
LoraWeight = Annotated[float, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT)]
ConditioningWeight = Annotated[float, Field(ge=0, le=MAX_WEIGHT)]
EnlargeFactor = Annotated[float, Field(gt=0, le=MAX_SCALE)]
UpscalerTile = Annotated[int, Field(ge=64, le=MAX_TILE_PX)]
UpscalerOverlap = Annotated[int, Field(ge=8, le=1024)]
RefineTile = Annotated[int, Field(ge=64, le=MAX_TILE_PX, multiple_of=SIZE_STEP_PX)]
RefineOverlap = Annotated[int, Field(ge=16, le=2048, multiple_of=SIZE_STEP_PX)]
DetailSide = Annotated[int, Field(ge=64, le=2048, multiple_of=SIZE_STEP_PX)]
Confidence = Annotated[float, Field(ge=0.01, le=1)]
Padding = Annotated[float, Field(ge=0, le=4)]
