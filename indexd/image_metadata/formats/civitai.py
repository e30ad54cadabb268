"""Sidecar files of Civitai (`.civitai.info`, `.json`): the response of its API, with the settings under `meta`."""

from __future__ import annotations

from typing import Any

from indexd.image_metadata import coerce, infotext
from indexd.image_metadata.formats.a1111 import metadata_from_infotext
from indexd.image_metadata.model import ImageMetadata, MetadataLora, ResourceUse
from indexd.image_metadata.registry import MetadataTexts, register_reader

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
        "hashes",
    )
)


@register_reader("civitai", rank=36)
def read_civitai(texts: MetadataTexts) -> ImageMetadata | None:
    """The settings of a description that has a prompt and at least one of Civitai's own names for numbers."""
    for key in CHUNKS:
        whole = texts.json_object(key)
        given = coerce.as_object(whole.get("meta")) or whole
        # A description of a model contains the settings of its sample images, not those of this image.
        if isinstance(given.get("prompt"), str) and ("cfgScale" in given or "negativePrompt" in given):
            return _metadata(given, key)
    return None


def _metadata(given: dict[str, Any], source: str) -> ImageMetadata:
    listed = [*coerce.as_objects(given.get("civitaiResources")), *coerce.as_objects(given.get("resources"))]
    prompt = coerce.clean_text(given.get("prompt"))
    size = coerce.parse_size(given.get("Size"))
    model = coerce.parse_model_name(given.get("Model")) or next(
        (coerce.nonempty_text(item.get("name")) for item in listed if item.get("type") in ("model", "checkpoint")), None
    )
    named = (
        MetadataLora(name, coerce.parse_float(item.get("weight")), None, coerce.nonempty_text(item.get("hash")))
        for item in listed
        if str(item.get("type", "")).lower() in ("lora", "lycoris", "locon", "dora")
        and (name := coerce.nonempty_text(item.get("name") or item.get("modelName")))
    )
    loras = {use.name: use for use in (*infotext.parse_loras(prompt or "", None), *named)}
    rest = _from_infotext(given)
    unused = {"Version", *(key for key, _ in rest.extras)}
    return ImageMetadata(
        generator="civitai",
        source=source,
        is_ai="metadata",
        prompt=prompt,
        negative_prompt=coerce.clean_text(given.get("negativePrompt")),
        seed=coerce.parse_seed(given.get("seed")),
        steps=coerce.parse_int(given.get("steps")),
        cfg=coerce.parse_float(given.get("cfgScale")),
        sampler=coerce.nonempty_text(given.get("sampler")),
        schedule=coerce.nonempty_text(given.get("Schedule type")),
        denoise=coerce.parse_float(given.get("Denoising strength")),
        clip_skip=coerce.parse_int(given.get("clipSkip") or given.get("Clip skip")),
        model_name=model,
        model_hash=coerce.nonempty_text(given.get("Model hash"))
        or coerce.nonempty_text(coerce.as_object(given.get("hashes")).get("model")),
        hires_scale=rest.hires_scale,
        hires_steps=rest.hires_steps,
        hires_upscaler=rest.hires_upscaler,
        hires_denoise=rest.hires_denoise,
        refiner=rest.refiner,
        variation_seed=rest.variation_seed,
        variation_strength=rest.variation_strength,
        controls=rest.controls,
        embeddings=rest.embeddings,
        detailers=rest.detailers,
        vae=coerce.parse_model_name(given.get("VAE")),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=tuple(loras.values()),
        resources=tuple(
            ResourceUse(
                str(address), coerce.nonempty_text(item.get("type")), None, None, coerce.parse_float(item.get("weight"))
            )
            for item in listed
            if isinstance(address := item.get("modelVersionId"), int) and not isinstance(address, bool)
        ),
        extras=tuple(pair for pair in coerce.unmapped_pairs(given, _COLUMNS) if pair[0] in unused),
    )


def _from_infotext(given: dict[str, Any]) -> ImageMetadata:
    """What Civitai left as it stood in the infotext: hires, ControlNets, detailers."""
    settings = {
        key: value if isinstance(value, str) else coerce.display_text(value)
        for key, value in given.items()
        if value is not None
    }
    return metadata_from_infotext(infotext.Infotext("", "", settings), "")
