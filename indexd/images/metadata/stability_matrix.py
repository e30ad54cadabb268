"""Stability Matrix: `parameters-json` beside an infotext, a graph (its comments stripped) and its own project."""

from __future__ import annotations

from indexd.images.facts import Metadata
from indexd.images.metadata import values
from indexd.images.metadata.registry import Texts, reads


@reads("stability-matrix", rank=21)
def read(texts: Texts) -> Metadata | None:
    """What `parameters-json` states; it holds the prompt as it was typed."""
    given = texts.record("png:parameters-json")
    if "PositivePrompt" not in given:
        return None
    return Metadata(
        generator="stability-matrix",
        source="png:parameters-json",
        is_ai="metadata",
        prompt=values.text(given.get("PositivePrompt")),
        negative_prompt=values.text(given.get("NegativePrompt")),
        seed=values.seed(given.get("Seed")),
        steps=values.whole(given.get("Steps")),
        cfg=values.number(given.get("CfgScale")),
        sampler=values.stated(given.get("Sampler")),
        model_name=values.model_name(given.get("ModelName")),
        model_hash=values.stated(given.get("ModelHash")),
        gen_width=values.whole(given.get("Width")),
        gen_height=values.whole(given.get("Height")),
    )
