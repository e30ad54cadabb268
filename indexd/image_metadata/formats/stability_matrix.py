"""Stability Matrix: `parameters-json` beside an infotext, a graph (its comments stripped) and its own project."""

from __future__ import annotations

from indexd.image_metadata import coerce, infotext
from indexd.image_metadata.model import ImageMetadata
from indexd.image_metadata.registry import MetadataTexts, register_reader

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
        prompt=coerce.clean_text(given.get("PositivePrompt")),
        negative_prompt=coerce.clean_text(given.get("NegativePrompt")),
        seed=coerce.parse_seed(given.get("Seed")),
        steps=coerce.parse_int(given.get("Steps")),
        cfg=coerce.parse_float(given.get("CfgScale")),
        sampler=coerce.nonempty_text(given.get("Sampler")),
        model_name=coerce.parse_model_name(given.get("ModelName")),
        model_hash=coerce.nonempty_text(given.get("ModelHash")),
        gen_width=coerce.parse_int(given.get("Width")),
        gen_height=coerce.parse_int(given.get("Height")),
        loras=infotext.parse_loras(coerce.clean_text(given.get("PositivePrompt")) or "", None),
        extras=coerce.unmapped_pairs(given, _COLUMNS),
    )
