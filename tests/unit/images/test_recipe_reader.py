"""Metadata of images that carry a recipe of indexd."""

from __future__ import annotations

from indexd.image_metadata.model import ChoiceUse, MetadataLora, RawChunk
from indexd.images.image_reader import parse_metadata
from indexd_schemas.recipe import InputRef, LoraRef, Recipe
from indexd_schemas.recipe_part import ModelRef

SEED = (1 << 64) - 1


def test_our_own_recipe_says_everything_exactly() -> None:
    recipe = Recipe(
        kind="img2img",
        prompt=" a duck ",
        negative_prompt="a goose",
        seed=SEED,
        width=64,
        height=32,
        steps=20,
        cfg=6.5,
        sampler="Euler a",
        schedule="karras",
        clip_skip=2,
        model=ModelRef(name="some", hash="0123456789"),
        loras=(LoraRef(name="l", weight=0.5, text_weight=1.0),),
        input=InputRef(hash="ab", name="in.png", denoise=0.4),
        job="7/2",
        template="a {duck|goose}",
        choices={"1": "duck"},
        software="indexd 0.1",
    )
    metadata = parse_metadata(
        [
            RawChunk("png:parameters", "utf-8", "other\nSteps: 1, Seed: 2"),
            RawChunk("png:indexd", "utf-8", recipe.model_dump_json()),
        ]
    )
    assert (metadata.generator, metadata.generator_version) == ("indexd", "indexd 0.1")
    assert (metadata.prompt, metadata.seed, metadata.job, metadata.input_hash) == (" a duck ", str(SEED), "7/2", "ab")
    assert (metadata.denoise, metadata.clip_skip, metadata.schedule) == (0.4, 2, "karras")
    assert metadata.choices == (ChoiceUse("1", "duck"),)
    assert ("template", "a {duck|goose}") in metadata.extras
    assert metadata.loras == (MetadataLora("l", 0.5, 1.0),)
    damaged = parse_metadata(
        [
            RawChunk("png:indexd", "utf-8", '{"kind": 1}'),
            RawChunk("png:parameters", "utf-8", "other\nSteps: 1, Seed: 2"),
        ]
    )
    assert (damaged.generator, damaged.prompt) == ("a1111", "other")
