"""Tensor.Art: `generation_data` JSON, padded with NULs; its seed may be -1, and the graph beside it has the true one."""

from __future__ import annotations

from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.model import EmbeddingUse, ImageMetadata, MetadataLora
from indexd.image_metadata.registry import MetadataTexts, register_reader

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
    base = coerce.as_object(given.get("baseModel"))
    models = coerce.as_objects(given.get("models"))
    hires = given if given.get("enableHr") is True else {}
    return ImageMetadata(
        generator="tensor.art",
        source="png:generation_data",
        is_ai="metadata",
        prompt=coerce.clean_text(given.get("prompt")),
        negative_prompt=coerce.clean_text(given.get("negativePrompt")),
        seed=coerce.parse_seed(given.get("seed")),
        steps=coerce.parse_int(given.get("steps")),
        cfg=coerce.parse_float(given.get("cfgScale")),
        sampler=coerce.nonempty_text(given.get("samplerName")) or coerce.nonempty_text(given.get("sampler")),
        clip_skip=coerce.parse_int(given.get("clipSkip")),
        model_name=_file_name(base)
        or next((_file_name(item) for item in models if item.get("type") == "BASE_MODEL"), None),
        model_hash=coerce.nonempty_text(base.get("hash")),
        vae=coerce.parse_model_name(given.get("vae")),
        hires_steps=coerce.parse_int(hires.get("hrSecondPassSteps")) or None,
        hires_upscaler=coerce.nonempty_text(hires.get("hrUpscaler")),
        hires_denoise=coerce.parse_float(hires.get("denoisingStrength")),
        gen_width=coerce.parse_int(given.get("width")),
        gen_height=coerce.parse_int(given.get("height")),
        loras=tuple(
            MetadataLora(name, coerce.parse_float(item.get("weight")), None, coerce.nonempty_text(item.get("hash")))
            for item in models
            if item.get("type") == "LORA" and (name := _file_name(item))
        ),
        embeddings=tuple(
            EmbeddingUse(name, coerce.nonempty_text(item.get("hash")))
            for item in models
            if item.get("type") in ("TEXTUAL_INVERSION", "EMBEDDING") and (name := _file_name(item))
        ),
        extras=tuple((key, coerce.display_text(value)) for key, value in given.items() if key not in _COLUMNS),
    )


def _file_name(model: dict[str, Any]) -> str | None:
    return coerce.parse_model_name(model.get("modelFileName")) or coerce.parse_model_name(model.get("label"))
