"""Hugging Face Spaces (Animagine and its copies): JSON with the argument names of diffusers in `parameters`."""

from __future__ import annotations

from indexd.image_metadata import coerce
from indexd.image_metadata.model import ImageMetadata
from indexd.image_metadata.registry import MetadataTexts, register_reader

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
        "strength",
        "clip_skip",
    )
)


@register_reader("hf-space", rank=34)
def read_hf_space(texts: MetadataTexts) -> ImageMetadata | None:
    """The arguments of the call that made the image."""
    for key in CHUNKS:
        given = texts.json_object(key)
        if "num_inference_steps" not in given or "prompt" not in given:
            continue
        size = coerce.parse_size(given.get("resolution"))
        hires = coerce.as_object(given.get("use_upscaler"))
        return ImageMetadata(
            generator="hf-space",
            source=key,
            is_ai="metadata",
            prompt=coerce.clean_text(given.get("prompt")),
            negative_prompt=coerce.clean_text(given.get("negative_prompt")),
            seed=coerce.parse_seed(given.get("seed")),
            steps=coerce.parse_int(given.get("num_inference_steps")),
            cfg=coerce.parse_float(given.get("guidance_scale")),
            sampler=coerce.nonempty_text(given.get("sampler") or given.get("scheduler")),
            model_name=coerce.parse_model_name(given.get("Model") or given.get("model")),
            model_hash=coerce.nonempty_text(given.get("Model hash")),
            denoise=coerce.parse_float(given.get("strength")),
            clip_skip=coerce.parse_int(given.get("clip_skip")),
            hires_scale=coerce.parse_float(hires.get("upscale_by")),
            hires_upscaler=coerce.nonempty_text(hires.get("upscale_method")),
            hires_denoise=coerce.parse_float(hires.get("upscaler_strength")),
            gen_width=size[0] if size else coerce.parse_int(given.get("width")),
            gen_height=size[1] if size else coerce.parse_int(given.get("height")),
            extras=coerce.unmapped_pairs(given, _COLUMNS),
        )
    return None
