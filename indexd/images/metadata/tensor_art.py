"""Tensor.Art: `generation_data` JSON, padded with NULs; its seed may be -1, and the graph beside it has the true one."""

from __future__ import annotations

from typing import Any

from indexd.images.facts import EmbeddingUse, ImageMetadata, MetadataLora
from indexd.images.metadata import values
from indexd.images.metadata.registry import MetadataTexts, register_reader

_COLUMNS = frozenset(
    (
        "prompt",
        "negativePrompt",
        "seed",
        "steps",
        "cfgScale",
        "samplerName",
        "width",
        "height",
        "clipSkip",
        "baseModel",
        "models",
        "vae",
        "sampler",
    )
)


@register_reader("tensor.art", rank=22)
def read_tensor_art(texts: MetadataTexts) -> ImageMetadata | None:
    """What `generation_data` states; a graph in the same file fills the rest."""
    given = texts.json_object("png:generation_data")
    if not given:
        return None
    base = values.as_object(given.get("baseModel"))
    models = values.as_objects(given.get("models"))
    return ImageMetadata(
        generator="tensor.art",
        source="png:generation_data",
        is_ai="metadata",
        prompt=values.clean_text(given.get("prompt")),
        negative_prompt=values.clean_text(given.get("negativePrompt")),
        seed=values.parse_seed(given.get("seed")),
        steps=values.parse_int(given.get("steps")),
        cfg=values.parse_float(given.get("cfgScale")),
        sampler=values.nonempty_text(given.get("samplerName")) or values.nonempty_text(given.get("sampler")),
        clip_skip=values.parse_int(given.get("clipSkip")),
        model_name=_file_name(base)
        or next((_file_name(item) for item in models if item.get("type") == "BASE_MODEL"), None),
        model_hash=values.nonempty_text(base.get("hash")),
        vae=values.parse_model_name(given.get("vae")),
        gen_width=values.parse_int(given.get("width")),
        gen_height=values.parse_int(given.get("height")),
        loras=tuple(
            MetadataLora(name, values.parse_float(item.get("weight")), None, values.nonempty_text(item.get("hash")))
            for item in models
            if item.get("type") == "LORA" and (name := _file_name(item))
        ),
        embeddings=tuple(
            EmbeddingUse(name, values.nonempty_text(item.get("hash")))
            for item in models
            if item.get("type") in ("TEXTUAL_INVERSION", "EMBEDDING") and (name := _file_name(item))
        ),
        extras=tuple((key, values.display_text(value)) for key, value in given.items() if key not in _COLUMNS),
    )


def _file_name(model: dict[str, Any]) -> str | None:
    return values.parse_model_name(model.get("modelFileName")) or values.parse_model_name(model.get("label"))
