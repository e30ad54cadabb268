"""The names of the positional `widgets_values` of nodes whose workflow does not state them (older front ends)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

AFTER_GENERATE = "control_after_generate"
"""The front end puts this choice behind every seed; it is no input of the node."""

SEED_CHOICES = frozenset(("fixed", "increment", "decrement", "randomize"))

_SEED = ("seed", AFTER_GENERATE)
_SAMPLING = ("steps", "cfg", "sampler_name", "scheduler", "denoise")
_EFFICIENT_LOADER = (
    "ckpt_name",
    "vae_name",
    "clip_skip",
    "lora_name",
    "lora_model_strength",
    "lora_clip_strength",
    "positive",
    "negative",
    "token_normalization",
    "weight_interpretation",
    "empty_latent_width",
    "empty_latent_height",
    "batch_size",
)

WIDGET_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "KSampler": (*_SEED, *_SAMPLING),
        "KSampler (Efficient)": (*_SEED, *_SAMPLING),
        "KSampler Adv. (Efficient)": ("add_noise", "noise_seed", AFTER_GENERATE, *_SAMPLING[:4]),
        "KSamplerAdvanced": ("add_noise", "noise_seed", AFTER_GENERATE, *_SAMPLING[:4], "start_at_step", "end_at_step"),
        "SamplerCustom": ("add_noise", "noise_seed", AFTER_GENERATE, "cfg"),
        "RandomNoise": ("noise_seed", AFTER_GENERATE),
        "CFGGuider": ("cfg",),
        "KSamplerSelect": ("sampler_name",),
        "BasicScheduler": ("scheduler", "steps", "denoise"),
        "KarrasScheduler": ("steps", "sigma_max", "sigma_min", "rho"),
        "SDTurboScheduler": ("steps", "denoise"),
        "AlignYourStepsScheduler": ("model_type", "steps", "denoise"),
        "FluxGuidance": ("guidance",),
        "ModelSamplingFlux": ("max_shift", "base_shift", "width", "height"),
        "CheckpointLoaderSimple": ("ckpt_name",),
        "CheckpointLoader": ("config_name", "ckpt_name"),
        "ImageOnlyCheckpointLoader": ("ckpt_name",),
        "unCLIPCheckpointLoader": ("ckpt_name",),
        "CheckpointLoader|pysssss": ("ckpt_name",),
        "UNETLoader": ("unet_name", "weight_dtype"),
        "UnetLoaderGGUF": ("unet_name",),
        "VAELoader": ("vae_name",),
        "ControlNetLoader": ("control_net_name",),
        "DiffControlNetLoader": ("control_net_name",),
        "ControlNetApply": ("strength",),
        "ControlNetApplyAdvanced": ("strength", "start_percent", "end_percent"),
        "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
        "LoraLoader|pysssss": ("lora_name", "strength_model", "strength_clip"),
        "LoraLoaderModelOnly": ("lora_name", "strength_model"),
        "CLIPSetLastLayer": ("stop_at_clip_layer",),
        "CLIPTextEncode": ("text",),
        "CLIPTextEncodeFlux": ("clip_l", "t5xxl", "guidance"),
        "CLIPTextEncodeSDXL": (
            "width",
            "height",
            "crop_w",
            "crop_h",
            "target_width",
            "target_height",
            "text_g",
            "text_l",
        ),
        "BNK_CLIPTextEncodeAdvanced": ("text", "token_normalization", "weight_interpretation"),
        "smZ CLIPTextEncode": ("text", "parser"),
        "ImpactWildcardEncode": ("wildcard_text", "populated_text"),
        "ImpactWildcardProcessor": ("wildcard_text", "populated_text"),
        "Power Prompt (rgthree)": ("prompt",),
        "Efficient Loader": _EFFICIENT_LOADER,
        "Eff. Loader SDXL": ("base_ckpt_name", "base_clip_skip", "refiner_ckpt_name", "refiner_clip_skip"),
        "EmptyLatentImage": ("width", "height", "batch_size"),
        "EmptySD3LatentImage": ("width", "height", "batch_size"),
        "SDXL Empty Latent Image (rgthree)": ("dimensions", "clip_scale", "batch_size"),
        "LatentUpscale": ("upscale_method", "width", "height", "crop"),
        "LatentUpscaleBy": ("upscale_method", "scale_by"),
        "Seed (rgthree)": ("seed",),
        "Seed Everywhere": _SEED,
        "PrimitiveNode": ("value",),
        "PrimitiveInt": ("value", AFTER_GENERATE),
        "PrimitiveFloat": ("value",),
        "PrimitiveString": ("value",),
        "PrimitiveStringMultiline": ("value",),
        "Text Multiline": ("text",),
        "ShowText|pysssss": ("text",),
        "CR Prompt Text": ("prompt",),
        "String Literal": ("string",),
        "GetNode": ("name",),
        "SetNode": ("name",),
    }
)
