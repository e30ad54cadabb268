"""Stability Matrix: `parameters-json` beside an infotext, a graph (its comments stripped) and its own project."""

from __future__ import annotations

from indexd.images.facts import Metadata
from indexd.images.metadata import infotext, values
from indexd.images.metadata.registry import Texts, reads

_COLUMNS = frozenset(
    (
        "PositivePrompt",
        "NegativePrompt",
        "Seed",
        "Steps",
        "CfgScale",
        "Sampler",
        "ModelName",
        "ModelHash",
        "Width",
        "Height",
    )
)


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
        loras=infotext.loras_of(values.text(given.get("PositivePrompt")) or "", None),
        extras=values.others(given, _COLUMNS),
    )
