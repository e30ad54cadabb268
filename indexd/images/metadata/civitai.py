"""Civitai's description of a picture beside it (`.civitai.info`, `.json`): what its API answers, with the settings under `meta`."""

from __future__ import annotations

from typing import Any

from indexd.images.facts import LoraUse, Metadata, ResourceUse
from indexd.images.metadata import infotext, values
from indexd.images.metadata.registry import Texts, reads

CHUNKS = ("sidecar:civitai", "sidecar:json")

_COLUMNS = frozenset(
    (
        "prompt",
        "negativePrompt",
        "seed",
        "steps",
        "cfgScale",
        "sampler",
        "Schedule type",
        "clipSkip",
        "Clip skip",
        "Model",
        "Model hash",
        "VAE",
        "Size",
        "Denoising strength",
        "resources",
        "civitaiResources",
    )
)


@reads("civitai", rank=36)
def read(texts: Texts) -> Metadata | None:
    """The settings of a description that has a prompt and at least one of Civitai's own names for numbers."""
    for key in CHUNKS:
        whole = texts.record(key)
        given = values.record(whole.get("meta")) or whole
        # A description of a model has the settings of its sample pictures further in, and says nothing of this one.
        if isinstance(given.get("prompt"), str) and ("cfgScale" in given or "negativePrompt" in given):
            return _metadata(given, key)
    return None


def _metadata(given: dict[str, Any], source: str) -> Metadata:
    listed = [*values.records(given.get("civitaiResources")), *values.records(given.get("resources"))]
    prompt = values.text(given.get("prompt"))
    size = values.size(given.get("Size"))
    model = values.model_name(given.get("Model")) or next(
        (values.stated(item.get("name")) for item in listed if item.get("type") in ("model", "checkpoint")), None
    )
    named = (
        LoraUse(name, values.number(item.get("weight")), None, values.stated(item.get("hash")))
        for item in listed
        if str(item.get("type", "")).lower() in ("lora", "lycoris", "locon", "dora")
        and (name := values.stated(item.get("name") or item.get("modelName")))
    )
    loras = {use.name: use for use in (*infotext.loras_of(prompt or "", None), *named)}
    return Metadata(
        generator="civitai",
        source=source,
        is_ai="metadata",
        prompt=prompt,
        negative_prompt=values.text(given.get("negativePrompt")),
        seed=values.seed(given.get("seed")),
        steps=values.whole(given.get("steps")),
        cfg=values.number(given.get("cfgScale")),
        sampler=values.stated(given.get("sampler")),
        schedule=values.stated(given.get("Schedule type")),
        denoise=values.number(given.get("Denoising strength")),
        clip_skip=values.whole(given.get("clipSkip") or given.get("Clip skip")),
        model_name=model,
        model_hash=values.stated(given.get("Model hash")),
        vae=values.model_name(given.get("VAE")),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=tuple(loras.values()),
        resources=tuple(
            ResourceUse(str(address), values.stated(item.get("type")), None, None, values.number(item.get("weight")))
            for item in listed
            if isinstance(address := item.get("modelVersionId"), int) and not isinstance(address, bool)
        ),
        extras=values.others(given, _COLUMNS),
    )
