"""Hugging Face Spaces (Animagine and its copies): JSON with the argument names of diffusers in `parameters`."""

from __future__ import annotations

from indexd.images.facts import Metadata
from indexd.images.metadata import values
from indexd.images.metadata.registry import Texts, reads

CHUNKS = ("png:parameters", "exif:UserComment", "png:metadata", "sidecar:json")


_COLUMNS = frozenset(
    (
        "prompt",
        "negative_prompt",
        "seed",
        "num_inference_steps",
        "guidance_scale",
        "sampler",
        "Model",
        "model",
        "Model hash",
        "resolution",
        "width",
        "height",
    )
)


@reads("hf-space", rank=34)
def read(texts: Texts) -> Metadata | None:
    """The arguments of the call that made the picture."""
    for key in CHUNKS:
        given = texts.record(key)
        if "num_inference_steps" not in given or "prompt" not in given:
            continue
        size = values.size(given.get("resolution"))
        return Metadata(
            generator="hf-space",
            source=key,
            is_ai="metadata",
            prompt=values.text(given.get("prompt")),
            negative_prompt=values.text(given.get("negative_prompt")),
            seed=values.seed(given.get("seed")),
            steps=values.whole(given.get("num_inference_steps")),
            cfg=values.number(given.get("guidance_scale")),
            sampler=values.stated(given.get("sampler") or given.get("scheduler")),
            model_name=values.model_name(given.get("Model") or given.get("model")),
            model_hash=values.stated(given.get("Model hash")),
            gen_width=size[0] if size else values.whole(given.get("width")),
            gen_height=size[1] if size else values.whole(given.get("height")),
            extras=values.others(given, _COLUMNS),
        )
    return None
