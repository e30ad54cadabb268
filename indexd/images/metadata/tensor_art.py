"""Tensor.Art: `generation_data` JSON, padded with NULs; its seed may be -1, and the graph beside it has the true one."""

from __future__ import annotations

from typing import Any

from indexd.images.facts import EmbeddingUse, LoraUse, Metadata
from indexd.images.metadata import values
from indexd.images.metadata.registry import Texts, reads

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


@reads("tensor.art", rank=22)
def read(texts: Texts) -> Metadata | None:
    """What `generation_data` states; a graph in the same file fills the rest."""
    given = texts.record("png:generation_data")
    if not given:
        return None
    base = values.record(given.get("baseModel"))
    models = values.records(given.get("models"))
    return Metadata(
        generator="tensor.art",
        source="png:generation_data",
        is_ai="metadata",
        prompt=values.text(given.get("prompt")),
        negative_prompt=values.text(given.get("negativePrompt")),
        seed=values.seed(given.get("seed")),
        steps=values.whole(given.get("steps")),
        cfg=values.number(given.get("cfgScale")),
        sampler=values.stated(given.get("samplerName")) or values.stated(given.get("sampler")),
        clip_skip=values.whole(given.get("clipSkip")),
        model_name=_file_name(base)
        or next((_file_name(item) for item in models if item.get("type") == "BASE_MODEL"), None),
        model_hash=values.stated(base.get("hash")),
        vae=values.model_name(given.get("vae")),
        gen_width=values.whole(given.get("width")),
        gen_height=values.whole(given.get("height")),
        loras=tuple(
            LoraUse(name, values.number(item.get("weight")), None, values.stated(item.get("hash")))
            for item in models
            if item.get("type") == "LORA" and (name := _file_name(item))
        ),
        embeddings=tuple(
            EmbeddingUse(name, values.stated(item.get("hash")))
            for item in models
            if item.get("type") in ("TEXTUAL_INVERSION", "EMBEDDING") and (name := _file_name(item))
        ),
        extras=tuple((key, values.extra(value)) for key, value in given.items() if key not in _COLUMNS),
    )


def _file_name(model: dict[str, Any]) -> str | None:
    return values.model_name(model.get("modelFileName")) or values.model_name(model.get("label"))
