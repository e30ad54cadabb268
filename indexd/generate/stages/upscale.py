"""Stage `upscale`: a model enlarges the picture in tiles; Lanczos brings it to the wanted factor."""

from __future__ import annotations

from PIL import Image

from indexd.generate.context import RenderContext, verified_model_file
from indexd.generate.stages.upscaler_model import TileSize, lease_upscaler, upscale_in_tiles
from indexd.images.geometry import scale_size

STAGE = "upscale"


def upscale(context: RenderContext, image: Image.Image) -> Image.Image:
    """The enlarged picture. The recipe learns the model's hash, and the tile where memory allowed only smaller ones."""
    wanted = context.recipe.upscale
    assert wanted is not None
    path, model = verified_model_file(
        "upscaler", wanted.model, context.call.upscalers.get(wanted.model.name), context.session
    )
    with lease_upscaler(context.session, path) as upscaler:
        made, cut = upscale_in_tiles(context.session, upscaler, image, TileSize(wanted.tile, wanted.overlap))
        size = scale_size(image.size, upscaler.scale if wanted.scale is None else wanted.scale)
    used = context.note_smaller_tiles(STAGE, wanted.tile, cut.tile)
    context.update_recipe(upscale=wanted.model_copy(update={"model": model, "tile_used": used}))
    return made if made.size == size else made.resize(size, Image.Resampling.LANCZOS)
