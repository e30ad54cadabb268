"""The row of stages that work on the decoded picture, in their order; each is on only where the recipe says so."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from indexd.generate.context import RenderContext
from indexd.generate.stages.detail import detail
from indexd.generate.stages.refine import refine
from indexd.generate.stages.resize import resize
from indexd.generate.stages.upscale import upscale
from indexd_schemas.recipe import Recipe

PostStage = Callable[[RenderContext, Image.Image], Image.Image]

POST_STAGES: tuple[tuple[str, PostStage], ...] = (
    ("detail", detail),
    ("upscale", upscale),
    ("refine", refine),
    ("resize", resize),
)
"""Each is called by the field of the recipe that turns it on. Adding a stage = a module and a row here."""


def enabled_stages(recipe: Recipe) -> list[tuple[str, PostStage]]:
    """The stages that a recipe turns on."""
    return [(name, stage) for name, stage in POST_STAGES if getattr(recipe, name)]
