"""Scores of a finished image: fit to its prompt, aesthetics, sharpness.

clip = cosine of the image and its prompt in clip_h's joint space, the prompt in windows as everywhere; aesthetic = a
head of linear layers over the unit image vector, as LAION's are (github.com/LAION-AI/aesthetic-predictor and
christophschuhmann/improved-aesthetic-predictor); sharpness = the variance of the Laplacian (4 neighbours) of the grey
image at its own size (Pech-Pacheco et al., ICPR 2000).
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from indexd.aesthetic_head import layer_prefixes
from indexd.errors import RenderFailed
from indexd.models.embedding_loaders import lease_embedding_model
from indexd.models.embedding_model import ImageEmbeddingModel
from indexd.models.model_identity import short_hash
from indexd.prompts.comfyui_emphasis import parse_comfyui_weights
from indexd.prompts.composition import split_at_and
from indexd.prompts.emphasis import WeightedText, parse_weights
from indexd.prompts.prompt_schedule import PromptSchedule
from indexd.worker.calls import CLIP_H
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe, ScoreRef

STAGE = "score"


def score_image(recipe: Recipe, image: Image.Image, session: RenderSession) -> Recipe:
    """The recipe with the scores that it asks for. Raises RenderFailed, or ModelUnavailable when clip_h cannot be loaded."""
    if not recipe.score:
        return recipe
    scores: dict[str, ScoreRef] = {}
    if "sharpness" in recipe.score:
        scores["sharpness"] = ScoreRef(value=sharpness(image))
    if {"clip", "aesthetic"} & set(recipe.score):
        scores |= _clip_scores(recipe, image, session)
    return recipe.model_copy(update={"scores": {name: scores[name] for name in recipe.score}})


def sharpness(image: Image.Image) -> float:
    """The variance of the Laplacian of the grey image, 0 for a plain one."""
    grey = np.asarray(image.convert("L"), np.float32)
    if min(grey.shape) < 3:
        return 0.0
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return round(float(laplacian.var(dtype=np.float64)), 4)


def plain_prompt(recipe: Recipe) -> str:
    """The prompt as words: as it reads at the last step, without weights and brackets, what AND joins in one."""
    if recipe.prompt_syntax == "plain":
        return recipe.prompt
    if recipe.prompt_syntax == "comfyui":
        return " ".join("".join(piece.text for piece in parse_comfyui_weights(recipe.prompt)).split())
    texts = (PromptSchedule(part.text).at(recipe.steps, recipe.steps) for part in split_at_and(recipe.prompt))
    pieces = (piece for text in texts for piece in parse_weights(text))
    return " ".join(" ".join(piece.text for piece in pieces if isinstance(piece, WeightedText)).split())


def _clip_scores(recipe: Recipe, image: Image.Image, session: RenderSession) -> dict[str, ScoreRef]:
    scores = {}
    with lease_embedding_model(CLIP_H, session) as loaded:
        model = cast("ImageEmbeddingModel", loaded)
        vector = session.pool.run_with_eviction(lambda: model.embed_images([image]))[0]
        if not np.isfinite(vector).all():
            raise RenderFailed(f"{STAGE}: clip_h gives this image a vector that is not finite")
        if "clip" in recipe.score:
            words = plain_prompt(recipe)
            text = session.pool.run_with_eviction(
                lambda: loaded.embed_texts([words], as_query=False, poll=session.poll)
            )[0]
            scores["clip"] = ScoreRef(value=round(float(vector @ text), 6), model=loaded.identity)
    if "aesthetic" in recipe.score:
        path = Path(session.settings.aesthetic)
        mark = short_hash(path, session.settings.cache_folder)
        value = round(apply_aesthetic_head(path, vector), 4)
        scores["aesthetic"] = ScoreRef(value=value, model=f"{model.identity}+{path.stem}/{mark}")
    return scores


def apply_aesthetic_head(path: Path, vector: NDArray[np.float32]) -> float:
    """What a head says of a unit vector (dim,).

    The file holds linear layers in the order of the numbers in their names (`weight` and `bias` alone are one layer), from
    the vector's width down to 1; its metadata may say `activation`: none (as LAION's) or relu, between layers. Raises
    RenderFailed when it is no such file, or of another width than the vector.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - it is no dict
            activation = (file.metadata() or {}).get("activation", "none")
    except Exception as error:
        # The library raises classes of its own for each kind of damage.
        raise RenderFailed(f"{STAGE}: the aesthetic head {path} cannot be read: {error}") from error
    layers = [(tensors[f"{name}weight"], tensors.get(f"{name}bias")) for name in layer_prefixes(tensors)]
    if activation not in ("none", "relu"):
        raise RenderFailed(f"{STAGE}: the aesthetic head {path.name} asks for {activation!r}; none and relu are known")
    value = torch.from_numpy(np.ascontiguousarray(vector, np.float32))
    for place, (weight, bias) in enumerate(layers):
        if weight.dim() != 2 or weight.shape[1] != len(value):
            what = "its first layer takes" if not place else f"layer {place + 1} takes"
            raise RenderFailed(
                f"{STAGE}: the aesthetic head {path.name} does not fit: {what} {tuple(weight.shape)[-1]} numbers, "
                f"and gets {len(value)} ({'the width of clip_h' if not place else 'from the layer before'})"
            )
        value = weight @ value + (0 if bias is None else bias)
        if activation == "relu" and place < len(layers) - 1:
            value = value.relu()
    if not layers or value.shape != (1,) or not bool(torch.isfinite(value).all()):
        raise RenderFailed(f"{STAGE}: the aesthetic head {path.name} does not end in one number")
    return float(value[0])
