"""Our own pictures: the recipe as JSON in the chunk `indexd` (indexd_schemas.recipe), which says everything exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import ValidationError

from indexd.images.facts import LoraUse, Metadata, SamplerPass, Score
from indexd.images.metadata.registry import Texts, reads
from indexd_schemas.recipe import Recipe

CHUNKS = ("png:indexd", "stealth:indexd")


@reads("indexd", rank=10)
def read(texts: Texts) -> Metadata | None:
    """The recipe of a picture that this program made; None where the chunk is not one of ours."""
    for key in CHUNKS:
        text = texts.get(key)
        if text is None:
            continue
        try:
            return _metadata(Recipe.model_validate_json(text), key)
        except (ValidationError, ValueError, RecursionError):
            continue  # the A1111 text beside it still tells most of it
    return None


def _metadata(recipe: Recipe, source: str) -> Metadata:
    denoise = recipe.input.denoise if recipe.input else None
    seed, model = str(recipe.seed), recipe.model.name
    return Metadata(
        generator="indexd",
        generator_version=recipe.software,
        source=source,
        is_ai="metadata",
        prompt=recipe.prompt,
        negative_prompt=recipe.negative_prompt,
        seed=seed,
        steps=recipe.steps,
        cfg=recipe.cfg,
        sampler=recipe.sampler,
        schedule=recipe.schedule,
        denoise=denoise,
        clip_skip=recipe.clip_skip,
        model_name=model,
        model_hash=recipe.model.hash,
        gen_width=recipe.width,
        gen_height=recipe.height,
        job=recipe.job,
        input_hash=recipe.input.hash if recipe.input else None,
        loras=tuple(LoraUse(lora.name, lora.weight, lora.text_weight, lora.hash) for lora in recipe.loras),
        passes=(SamplerPass(seed, recipe.steps, recipe.cfg, recipe.sampler, recipe.schedule, denoise, model),),
        scores=tuple(Score(name, one.value, one.model) for name, one in (recipe.scores or {}).items()),
        extras=tuple(_extras(recipe)),
    )


def _extras(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What no column is made for."""
    yield "kind", recipe.kind
    yield "prompt_syntax", recipe.prompt_syntax
    if recipe.dtype:
        yield "dtype", recipe.dtype
    if recipe.mask:
        yield "mask", recipe.mask.model_dump_json(exclude_defaults=True)
    yield from (("embedding", f"{use.name} ({use.hash})") for use in recipe.embeddings)
    for lora in recipe.loras:
        if lora.blocks is not None:
            yield "lora_blocks", f"{lora.name}: {json.dumps(lora.blocks)}"
