"""What `indexd show` tells of how a picture was made."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from indexd.cli.commands.show import generation_lines
from indexd.image_metadata.model import (
    CharacterPrompt,
    ChoiceUse,
    ControlUse,
    DetailerUse,
    EmbeddingUse,
    GenerationDetails,
    ImageMetadata,
    MetadataLora,
    MetadataScore,
    ResourceUse,
    SamplerPass,
)
from indexd.search.serialization import serialize_extras, serialize_generation
from indexd.store.protocols import IndexStore
from tests.unit.store.sample_rows import Library


def test_all_stored_metadata_is_shown(store: IndexStore, library: Library) -> None:
    image_id = library.add(
        "a.png",
        source="png:parameters",
        prompt="a duck",
        raw_prompt="a {red|blue} duck",
        gen_width=512,
        gen_height=768,
        clip_skip=2,
        vae="kl",
        variation_seed=str(2**64 - 1),
        variation_strength=0.25,
        guidance=3.5,
        refiner="refine",
        hires_scale=1.5,
        hires_steps=10,
        hires_upscaler="4x",
        hires_denoise=0.4,
        upscaler="up",
        passes=(SamplerPass("1", 20, 7.0, "euler", "karras"), SamplerPass("1", 10, None, None, None, 0.4, "m", 16, 20)),
        controls=(ControlUse("canny_model", "canny", 0.5, 0.0, 0.8),),
        embeddings=(EmbeddingUse("EasyNegative", "c74b"),),
        characters=(CharacterPrompt("a girl", "a hat", 0.25, 0.5),),
        resources=(ResourceUse("128078", "checkpoint", "XL", "v1", 1.0),),
        detailers=(DetailerUse("face", "a beak", None, 0.4),),
        extras=(("twice", "one"), ("twice", "https://x/?sig=abc"), ("once", "z")),
    )
    making = serialize_generation(store.images.metadata(image_id))
    assert list(generation_lines(making, "a duck")) == [
        ("read from", "png:parameters"),
        ("raw prompt", "a {red|blue} duck"),
        ("made at", "512x768"),
        ("clip skip", "2"),
        ("vae", "kl"),
        ("variation", "18446744073709551615 strength 0.25"),
        ("guidance", "3.5"),
        ("refiner", "refine"),
        ("hires", "x1.5 4x steps 10 denoise 0.4"),
        ("upscaler", "up"),
        ("pass", "seed 1, steps 20, cfg 7, euler karras"),
        ("pass", "seed 1, steps 10, steps 16-20, denoise 0.4, m"),
        ("control", "canny_model (canny) weight 0.5 0-0.8"),
        ("embedding", "EasyNegative (c74b)"),
        ("character", "at 0.25, 0.5: a girl (without a hat)"),
        ("resource", "128078 checkpoint XL v1 weight 1"),
        ("detailer", "face denoise 0.4 a beak"),
    ]
    row = store.images.get(image_id)
    assert row is not None
    assert serialize_extras(row) == {"twice": "one\nhttps://x/?sig=…", "once": "z"}


def test_absent_metadata_has_no_line(store: IndexStore, library: Library) -> None:
    assert list(generation_lines(serialize_generation(store.images.metadata(library.add("a.png"))), None)) == []
    assert serialize_generation(store.images.metadata(99)) == GenerationDetails()
    assert list(generation_lines(GenerationDetails(raw_prompt="the same"), "the same")) == []


def test_every_field_of_the_metadata_model_is_stored_and_read_back(store: IndexStore, library: Library) -> None:
    stated = ImageMetadata(
        loras=(MetadataLora("l", 0.5, 0.25, "aa"),),
        controls=(ControlUse("c", "m", 0.5, 0.0, 0.75),),
        passes=(SamplerPass("1", 20, 7.0, "euler", "karras", 0.5, "m", 0, 10),),
        embeddings=(EmbeddingUse("e", "bb"),),
        characters=(CharacterPrompt("a", "b", 0.25, 0.75),),
        resources=(ResourceUse("1", "kind", "name", "v1", 1.0),),
        detailers=(DetailerUse("d", "p", "n", 0.5),),
        choices=(ChoiceUse("Hair", "bob"),),
        scores=(MetadataScore("clip", 0.5, "model"),),
        extras=(("key", "value"),),
    )
    for at, one in enumerate(fields(ImageMetadata)):
        # Annotations of other programs are attributes (test_suggestions.py).
        if one.name not in ("raw", "created_until", "annotations") and getattr(stated, one.name) in (None, 0):
            kinds: dict[str, Any] = {"str | None": f"{at}", "int | None": at, "int": at, "float | None": at + 0.5}
            stated = replace(stated, **{one.name: kinds[str(one.type)]})
    image_id = library.add("a.png", **{one.name: getattr(stated, one.name) for one in fields(stated)})
    assert store.images.metadata(image_id) == stated
