"""Recipes and render calls for tests that need no model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from indexd.worker.calls import AnyCall, FileRef, Render
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKey, FileKind


def recipe(**fields: Any) -> Recipe:
    """A small txt2img recipe with these fields."""
    small: dict[str, Any] = {"kind": "txt2img", "prompt": "a fox", "seed": 1, "width": 16, "height": 8, "steps": 1}
    small |= {"cfg": 1.0, "sampler": "euler", "model": {"name": "m"}}
    return Recipe.model_validate(small | fields)


def render_call(checkpoint: Path | str = "/m", **fields: Any) -> Render:
    """The render of `recipe(**fields)` with this checkpoint."""
    made = recipe(**fields)
    assert made.model is not None
    return Render(made, {FileKey("checkpoint", made.model.name): FileRef(str(checkpoint).encode())})


def file_names(call: AnyCall, kind: FileKind) -> dict[str, str]:
    """The files of a kind that a call names: the name of the path by the name in the recipe."""
    assert isinstance(call, Render)
    return {key.name: Path(os.fsdecode(file.path)).name for key, file in call.files.items() if key.kind == kind}
