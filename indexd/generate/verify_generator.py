"""`indexd models verify generator`: load the generator of the settings and render one small image."""

from __future__ import annotations

import os
from pathlib import Path

from indexd.generate.render import render
from indexd.worker.calls import GENERATOR, FileRef, ModelVerified, Render
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKey, ModelRef

_SIDE_PX = 64


def verify_generator(session: RenderSession) -> ModelVerified:
    """Raises what `render` raises: ModelUnavailable, RenderFailed, OutOfMemory."""
    spec = session.spec(GENERATOR)
    path = Path(spec.path)
    recipe = Recipe(
        kind="txt2img",
        prompt="a photo of a cat",
        seed=0,
        width=_SIDE_PX,
        height=_SIDE_PX,
        steps=2,
        cfg=5.0,
        sampler="euler",
        model=ModelRef(name=path.stem),
    )
    made = render(Render(recipe, {FileKey("checkpoint", path.stem): FileRef(os.fsencode(path))}), session)
    assert made.recipe.model is not None
    detail = (
        f"{_SIDE_PX}x{_SIDE_PX} in {made.seconds['denoise']:.1f} s, {made.recipe.dtype} on {spec.device}, {spec.path}"
    )
    return ModelVerified(f"{GENERATOR}/{made.recipe.model.hash}", detail)
