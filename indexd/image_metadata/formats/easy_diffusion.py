"""Easy Diffusion: one PNG text per field, or JSON in EXIF or a sidecar file, or `Key: value` lines in a .txt."""

from __future__ import annotations

from collections.abc import Mapping

from indexd.image_metadata import coerce
from indexd.image_metadata.model import ControlUse, EmbeddingUse, ImageMetadata, MetadataLora
from indexd.image_metadata.registry import MetadataTexts, register_reader

_KEYS_BY_FIELD = {
    "prompt": ("prompt", "Prompt"),
    "negative_prompt": ("negative_prompt", "Negative Prompt"),
    "seed": ("seed", "Seed"),
    "steps": ("num_inference_steps", "Steps"),
    "cfg": ("guidance_scale", "Guidance Scale"),
    "sampler": ("sampler_name", "Sampler"),
    "model": ("use_stable_diffusion_model", "Stable Diffusion model", "Stable Diffusion Model"),
    "vae": ("use_vae_model", "VAE model"),
    "clip_skip": ("clip_skip", "Clip Skip"),
    "width": ("width", "Width"),
    "height": ("height", "Height"),
    "denoise": ("prompt_strength", "Prompt Strength"),
    "loras": ("use_lora_model", "LoRA model"),
    "lora_weights": ("lora_alpha", "LoRA Strength"),
    "embeddings": ("use_embedding_models", "use_embeddings_model", "Embedding models"),
    "control": ("use_controlnet_model", "ControlNet model"),
    "control_module": ("control_filter_to_apply", "ControlNet Filter"),
    "control_weight": ("control_alpha", "ControlNet Strength"),
    "upscaler": ("use_upscale", "Use Upscaling"),
}
_COLUMNS = frozenset(name for names in _KEYS_BY_FIELD.values() for name in names)
_JSON_CHUNKS = ("exif:UserComment", "png:parameters", "jpeg:comment", "sidecar:json")


@register_reader("easy-diffusion", rank=33)
def read_easy_diffusion(texts: MetadataTexts) -> ImageMetadata | None:
    """The fields, when the model or the step count stands under one of this program's names."""
    for key in _JSON_CHUNKS:
        given = texts.json_object(key)
        if any(name in given for name in _KEYS_BY_FIELD["model"]):
            return _metadata(given, key)
    chunks = {key.removeprefix("png:"): texts.get(key) for key in texts.keys if key.startswith("png:")}
    # ComfyUI's chunk is called `prompt` too, but holds JSON.
    if _is_easy_diffusion(chunks) and (_first_text(chunks, "prompt") or "{").lstrip()[:1] != "{":
        return _metadata(chunks, "png:prompt")
    lines = _parse_lines(texts.get("sidecar:txt") or "")
    return _metadata(lines, "sidecar:txt") if _is_easy_diffusion(lines) and "Prompt" in lines else None


def _is_easy_diffusion(given: Mapping[str, object]) -> bool:
    return any(name in given for name in _KEYS_BY_FIELD["model"]) and any(
        name in given for name in _KEYS_BY_FIELD["seed"]
    )


def _parse_lines(text: str) -> dict[str, object]:
    pairs = (line.partition(":") for line in text[: coerce.TEXT_MAX].splitlines()[:200])
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _first_text(given: Mapping[str, object], field: str) -> str | None:
    value = next((given[name] for name in _KEYS_BY_FIELD[field] if given.get(name) not in (None, "None")), None)
    return None if value is None or isinstance(value, dict | list) else str(value)


def _metadata(given: Mapping[str, object], source: str) -> ImageMetadata:
    control = ControlUse(
        coerce.parse_model_name(_first_text(given, "control")),
        coerce.nonempty_text(_first_text(given, "control_module")),
        coerce.parse_float(_first_text(given, "control_weight")),
    )
    return ImageMetadata(
        generator="easy-diffusion",
        source=source,
        is_ai="metadata",
        prompt=coerce.clean_text(_first_text(given, "prompt")),
        negative_prompt=coerce.clean_text(_first_text(given, "negative_prompt")),
        seed=coerce.parse_seed(_first_text(given, "seed")),
        steps=coerce.parse_int(_first_text(given, "steps")),
        cfg=coerce.parse_float(_first_text(given, "cfg")),
        sampler=coerce.nonempty_text(_first_text(given, "sampler")),
        denoise=coerce.parse_float(_first_text(given, "denoise")),
        clip_skip=_clip_skip(given),
        model_name=coerce.parse_model_name(_first_text(given, "model")),
        vae=coerce.parse_model_name(_first_text(given, "vae")),
        gen_width=coerce.parse_int(_first_text(given, "width")),
        gen_height=coerce.parse_int(_first_text(given, "height")),
        upscaler=coerce.parse_model_name(_first_text(given, "upscaler")),
        loras=_loras(given),
        controls=(control,) if control.model else (),
        embeddings=tuple(
            EmbeddingUse(name) for one in _as_list(given, "embeddings") if (name := coerce.parse_model_name(one))
        ),
        extras=coerce.unmapped_pairs(given, _COLUMNS),
    )


def _clip_skip(given: Mapping[str, object]) -> int | None:
    """A switch: on = the last layer but one is used."""
    stated = _first_text(given, "clip_skip")
    return 2 if (stated or "").lower() == "true" else coerce.parse_int(stated)


def _loras(given: Mapping[str, object]) -> tuple[MetadataLora, ...]:
    weights = _as_list(given, "lora_weights")
    named = [(coerce.parse_model_name(one), place) for place, one in enumerate(_as_list(given, "loras"))]
    return tuple(
        MetadataLora(name, coerce.parse_float(weights[place]) if place < len(weights) else None)
        for name, place in named
        if name
    )


def _as_list(given: Mapping[str, object], field: str) -> list[object]:
    """One value, or the list of them as JSON or as Python writes it (`['a', 'b']`)."""
    found = next((given[name] for name in _KEYS_BY_FIELD[field] if given.get(name) not in (None, "", "None")), None)
    if isinstance(found, str) and found[:1] == "[" and found[-1:] == "]":
        return [part.strip().strip("\"'") for part in found[1:-1].split(",") if part.strip()]
    return found if isinstance(found, list) else [] if found is None else [found]
