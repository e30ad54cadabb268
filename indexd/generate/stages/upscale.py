"""Stage `upscale`: a model enlarges the picture in tiles; Lanczos brings it to the wanted factor."""

from __future__ import annotations

from PIL import Image

from indexd.generate.stages.upscaler import Cut, enlarged, lent_upscaler
from indexd.generate.stages.work import Work, known_file
from indexd.images.sizes import times

STAGE = "upscale"


def upscale(work: Work, picture: Image.Image) -> Image.Image:
    """The enlarged picture. The recipe learns the model's hash, and the tile where memory allowed only smaller ones."""
    wanted = work.recipe.upscale
    assert wanted is not None
    path, model = known_file("upscaler", wanted.model, work.call.upscalers.get(wanted.model.name), work.session)
    with lent_upscaler(work.session, path) as upscaler:
        made, cut = enlarged(work.session, upscaler, picture, Cut(wanted.tile, wanted.overlap))
        size = times(picture.size, upscaler.scale if wanted.scale is None else wanted.scale)
    used = work.smaller_tiles(STAGE, wanted.tile, cut.tile)
    work.know(upscale=wanted.model_copy(update={"model": model, "tile_used": used}))
    return made if made.size == size else made.resize(size, Image.Resampling.LANCZOS)
