"""Stability Matrix: `parameters-json` beside an infotext, a graph (its comments stripped) and its own project."""

from __future__ import annotations

from indexd.images.facts import ImageMetadata
from indexd.images.metadata import infotext, values
from indexd.images.metadata.registry import MetadataTexts, register_reader

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


@register_reader("stability-matrix", rank=21)
def read_stability_matrix(texts: MetadataTexts) -> ImageMetadata | None:
    """What `parameters-json` states; it holds the prompt as it was typed."""
    given = texts.json_object("png:parameters-json")
    if "PositivePrompt" not in given:
        return None
    return ImageMetadata(
        generator="stability-matrix",
        source="png:parameters-json",
        is_ai="metadata",
        prompt=values.clean_text(given.get("PositivePrompt")),
        negative_prompt=values.clean_text(given.get("NegativePrompt")),
        seed=values.parse_seed(given.get("Seed")),
        steps=values.parse_int(given.get("Steps")),
        cfg=values.parse_float(given.get("CfgScale")),
        sampler=values.nonempty_text(given.get("Sampler")),
        model_name=values.parse_model_name(given.get("ModelName")),
        model_hash=values.nonempty_text(given.get("ModelHash")),
        gen_width=values.parse_int(given.get("Width")),
        gen_height=values.parse_int(given.get("Height")),
        loras=infotext.parse_loras(values.clean_text(given.get("PositivePrompt")) or "", None),
        extras=values.unmapped_pairs(given, _COLUMNS),
    )
