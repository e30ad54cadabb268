"""`indexd models verify sdxl`: load the generator of the settings and make one small picture."""

from __future__ import annotations

from pathlib import Path

from indexd.generate.render import render
from indexd.worker.calls import GENERATOR, ModelVerified, Render
from indexd.worker.session import RenderSession

_SIDE_PX = 64


def verify_generator(session: RenderSession) -> ModelVerified:
    """Raises what `render` raises: ModelOff, RenderFailed, OutOfMemory."""
    spec = session.spec(GENERATOR)
    recipe = {
        "kind": "txt2img",
        "prompt": "a picture of a cat",
        "seed": 0,
        "width": _SIDE_PX,
        "height": _SIDE_PX,
        "steps": 2,
        "cfg": 5.0,
        "sampler": "euler",
        "model": {"name": Path(spec.path).stem},
    }
    made = render(Render(recipe, spec.path), session)
    detail = f"{_SIDE_PX}x{_SIDE_PX} in {made.seconds['denoise']:.1f} s, {made.recipe['dtype']} on {spec.device}, {spec.path}"
    return ModelVerified(f"{GENERATOR}/{made.recipe['model']['hash']}", detail)
