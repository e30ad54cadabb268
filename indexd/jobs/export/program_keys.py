"""The job keys that read prompts and draw noise as the program did that made the image."""

from __future__ import annotations

from typing import Any

from indexd.image_metadata.model import ImageMetadata
from indexd_schemas.samplers import A1111_PROGRAMS

# SwarmUI runs ComfyUI's samplers.
_COMFYUI_PROGRAMS = ("comfyui", "swarmui")
_GPU_SAMPLER_ENDING = "_gpu"
_A1111_SETTINGS = ("RNG", "ENSD", "Seed resize from")


def program_keys(made: ImageMetadata) -> dict[str, Any]:
    """`prompt_syntax`, `noise`, `timesteps` and `variation` of the job; nothing for programs whose rules are not known."""
    if made.generator in _COMFYUI_PROGRAMS:
        # SwarmUI's prompts have a syntax of their own.
        syntax = {"prompt_syntax": "comfyui"} if made.generator == "comfyui" else {}
        return {**syntax, "noise": _comfyui_noise(made), "timesteps": "rounded"}
    if made.generator not in A1111_PROGRAMS:
        return {}
    keys: dict[str, Any] = {"noise": _a1111_noise(dict(made.extras))}
    seed, strength = made.variation_seed, made.variation_strength
    if seed is not None and seed.isascii() and seed.isdigit() and strength:
        keys["variation"] = {"seed": int(seed), "strength": strength}
    return keys


def noise_settings(made: ImageMetadata) -> tuple[str, ...]:
    """The names in `made.extras` that `program_keys` takes over."""
    return _A1111_SETTINGS if made.generator in A1111_PROGRAMS else ()


def _comfyui_noise(made: ImageMetadata) -> Any:
    if (made.sampler or "").endswith(_GPU_SAMPLER_ENDING):
        return {"source": "comfyui", "brownian": "gpu"}
    return "comfyui"


def _a1111_noise(settings: dict[str, str]) -> Any:
    """By the infotext's "RNG" (stated where it is not GPU; NV is the same), "ENSD" and "Seed resize from"."""
    source = "a1111_cpu" if settings.get("RNG", "").strip().upper() == "CPU" else "a1111"
    options: dict[str, Any] = {}
    delta = settings.get("ENSD", "").strip()
    if delta.removeprefix("-").isdecimal() and int(delta):
        options["seed_delta"] = int(delta)
    size = settings.get("Seed resize from", "").strip()
    if size and not size.startswith(("-", "0")):
        options["resize_from"] = size
    return {"source": source, **options} if options else source
