"""Easy Diffusion: one PNG text a field, or JSON in EXIF or beside the picture, or `Key: value` lines in a .txt."""

from __future__ import annotations

from collections.abc import Mapping

from indexd.images.facts import ControlUse, EmbeddingUse, LoraUse, Metadata
from indexd.images.metadata import values
from indexd.images.metadata.registry import Texts, reads

_NAMES = {
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
_COLUMNS = frozenset(name for names in _NAMES.values() for name in names)
_JSON_CHUNKS = ("exif:UserComment", "png:parameters", "jpeg:comment", "sidecar:json")


@reads("easy-diffusion", rank=33)
def read(texts: Texts) -> Metadata | None:
    """The fields, when the model or the step count stands under one of this program's names."""
    for key in _JSON_CHUNKS:
        given = texts.record(key)
        if any(name in given for name in _NAMES["model"]):
            return _metadata(given, key)
    chunks = {key.removeprefix("png:"): texts.get(key) for key in texts.names if key.startswith("png:")}
    # ComfyUI's chunk is called `prompt` too, but holds JSON.
    if _is_ours(chunks) and (_first(chunks, "prompt") or "{").lstrip()[:1] != "{":
        return _metadata(chunks, "png:prompt")
    lines = _lines(texts.get("sidecar:txt") or "")
    return _metadata(lines, "sidecar:txt") if _is_ours(lines) and "Prompt" in lines else None


def _is_ours(given: Mapping[str, object]) -> bool:
    return any(name in given for name in _NAMES["model"]) and any(name in given for name in _NAMES["seed"])


def _lines(text: str) -> dict[str, object]:
    pairs = (line.partition(":") for line in text[: values.TEXT_MAX].splitlines()[:200])
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _first(given: Mapping[str, object], field: str) -> str | None:
    value = next((given[name] for name in _NAMES[field] if given.get(name) not in (None, "None")), None)
    return None if value is None or isinstance(value, dict | list) else str(value)


def _metadata(given: Mapping[str, object], source: str) -> Metadata:
    control = ControlUse(
        values.model_name(_first(given, "control")),
        values.stated(_first(given, "control_module")),
        values.number(_first(given, "control_weight")),
    )
    return Metadata(
        generator="easy-diffusion",
        source=source,
        is_ai="metadata",
        prompt=values.text(_first(given, "prompt")),
        negative_prompt=values.text(_first(given, "negative_prompt")),
        seed=values.seed(_first(given, "seed")),
        steps=values.whole(_first(given, "steps")),
        cfg=values.number(_first(given, "cfg")),
        sampler=values.stated(_first(given, "sampler")),
        denoise=values.number(_first(given, "denoise")),
        clip_skip=values.whole(_first(given, "clip_skip")),
        model_name=values.model_name(_first(given, "model")),
        vae=values.model_name(_first(given, "vae")),
        gen_width=values.whole(_first(given, "width")),
        gen_height=values.whole(_first(given, "height")),
        upscaler=values.model_name(_first(given, "upscaler")),
        loras=_loras(given),
        controls=(control,) if control.model else (),
        embeddings=tuple(
            EmbeddingUse(name) for one in _several(given, "embeddings") if (name := values.model_name(one))
        ),
        extras=values.others(given, _COLUMNS),
    )


def _loras(given: Mapping[str, object]) -> tuple[LoraUse, ...]:
    weights = _several(given, "lora_weights")
    named = [(values.model_name(one), place) for place, one in enumerate(_several(given, "loras"))]
    return tuple(
        LoraUse(name, values.number(weights[place]) if place < len(weights) else None) for name, place in named if name
    )


def _several(given: Mapping[str, object], field: str) -> list[object]:
    """One value, or the list of them as JSON or as Python writes it (`['a', 'b']`)."""
    found = next((given[name] for name in _NAMES[field] if given.get(name) not in (None, "", "None")), None)
    if isinstance(found, str) and found[:1] == "[" and found[-1:] == "]":
        return [part.strip().strip("\"'") for part in found[1:-1].split(",") if part.strip()]
    return found if isinstance(found, list) else [] if found is None else [found]
