"""Whether a model file can be used as what a job names it for: one rule for admission, doctor and the lists."""

from __future__ import annotations

from collections.abc import Collection

from indexd.model_headers.description import CHANNEL_LABELS, FAMILY_LABELS, KIND_LABELS, ModelDescription, ModelKind
from indexd_schemas.recipe_part import FileKind

RENDERED_FAMILIES = ("sdxl",)
"""The families that the generator loads (the packages of indexd/generate)."""
UNET_CHANNELS = (4, 9)
LATENT_CHANNELS = 4
_WANTED: dict[FileKind, tuple[ModelKind, ...]] = {
    "checkpoint": ("checkpoint",),
    "vae": ("vae",),
    "lora": ("lora",),
    "embedding": ("embedding",),
    "controlnet": ("controlnet",),
    "ip_adapter": ("ip_adapter",),
    "upscaler": ("upscaler",),
}
_ADVICE: dict[ModelKind, str] = {
    "checkpoint": "name it with `model:`",
    "diffusion_model": "name a checkpoint with text encoders",
    "lora": "name it under `loras:`",
    "vae": "name it with `vae:`",
    "embedding": "write its name into the prompt",
    "controlnet": "name it under `control:`",
    "ip_adapter": "name it under `reference:`",
    "upscaler": "name it under `upscale:`",
}
_PICKLES_BEHIND_SETTING: tuple[FileKind, ...] = ("checkpoint", "embedding", "upscaler")


def find_unusable_reason(
    wanted: FileKind,
    found: ModelDescription,
    *,
    pickles_allowed: bool,
    families: Collection[str] = RENDERED_FAMILIES,
) -> str | None:
    """Why the file cannot be used as `wanted`, as a predicate ("is a LoRA, not a VAE; …"); None where nothing speaks against it.

    Only what the header shows counts against a file. What cannot be recognised is left to the generator.
    """
    if found.problem:
        return found.problem
    if found.format == "gguf":
        return "is a GGUF file, which indexd cannot read; use the .safetensors file of the model"
    if found.format == "pickle":
        return _pickle_reason(wanted, pickles_allowed)
    if wanted not in _WANTED or found.kind == "unknown":
        return None
    if found.kind not in _WANTED[wanted] and not (wanted == "vae" and found.has_vae):
        family = f" of {found.family_label}" if found.family else ""
        advice = f"; {_ADVICE[found.kind]}" if found.kind in _ADVICE else ""
        return f"is {KIND_LABELS[found.kind]}{family}, not {KIND_LABELS[_WANTED[wanted][0]]}{advice}"
    if found.family and found.family not in families and wanted != "vae":
        usable = " or ".join(FAMILY_LABELS[family] for family in families)
        return f"was made for {found.family_label}, and indexd renders with {usable}; use a file made for {usable}"
    if found.quantization:
        return f"is quantized ({found.quantization}), which indexd cannot read; use the fp16, bf16 or fp8 file of the model"
    return _channel_reason(found)


def _pickle_reason(wanted: FileKind, pickles_allowed: bool) -> str | None:
    if wanted == "detector" or (wanted in _PICKLES_BEHIND_SETTING and pickles_allowed):
        return None
    setting = ", or set pickle_checkpoints under [generate]" if wanted in _PICKLES_BEHIND_SETTING else ""
    return f"is a pickle, which can carry code; convert it to .safetensors{setting}"


def _channel_reason(found: ModelDescription) -> str | None:
    if found.channels is None:
        return None
    if found.kind == "vae" and found.channels != LATENT_CHANNELS:
        return (
            f"has latents of {found.channels} channels, and SDXL's have {LATENT_CHANNELS}: it belongs to another family; "
            "use a VAE of SDXL"
        )
    if found.kind == "checkpoint" and found.channels not in UNET_CHANNELS:
        what = CHANNEL_LABELS.get(found.channels)
        return (
            f"takes {found.channels} input channels{f' (a model for {what})' if what else ''}, which indexd does not render "
            "with; use a base or inpainting model"
        )
    return None
