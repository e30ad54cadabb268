"""Kind, family and training of a model, told from the names and shapes of its tensors.

Names of tensors are those of the programs that write them. Shapes decide only where the names leave it open, so a small model of
the same topology is recognised too. Derivatives of SDXL (Pony, Illustrious, NoobAI) have its tensors: they are SDXL here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from indexd.model_headers.description import (
    FAMILY_OF_TEXT_WIDTH,
    LoraDescription,
    ModelDescription,
    ModelKind,
    clip_text,
)
from indexd.model_headers.safetensors_header import SafetensorsHeader

_UNET_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "net.", "transformer.", "unet.", "")
_LAST_ATTENTION = "transformer_blocks.0.attn2.to_k.weight"
_CROSS_ATTENTIONS = (
    "input_blocks.4.1." + _LAST_ATTENTION,
    "input_blocks.1.1." + _LAST_ATTENTION,
    "input_blocks.2.1." + _LAST_ATTENTION,
    "down_blocks.1.attentions.0." + _LAST_ATTENTION,
    "down_blocks.0.attentions.0." + _LAST_ATTENTION,
    "mid_block.attentions.0." + _LAST_ATTENTION,
)
# A tensor that only this family has, after the prefix of the diffusion model. The first that is there decides.
_TRANSFORMER_MARKS = (
    ("flux2", "double_stream_modulation_img.lin.weight"),
    ("chroma", "distilled_guidance_layer.in_proj.bias"),
    ("hunyuan-image", "byt5_in.fc1.bias"),
    ("flux", "double_blocks.0.img_attn.norm.key_norm.scale"),
    ("flux", "single_transformer_blocks.0.attn.norm_k.weight"),
    ("sd3", "joint_blocks.0.context_block.attn.proj.bias"),
    ("anima", "llm_adapter.blocks.0.self_attn.v_proj.weight"),
    ("z-image", "context_refiner.0.attention.k_norm.weight"),
    ("z-image", "context_refiner.0.attention.norm_k.weight"),
    ("lumina2", "cap_embedder.0.weight"),
    ("qwen-image", "transformer_blocks.0.attn.add_k_proj.bias"),
    ("hidream", "caption_projection.0.linear.weight"),
    ("auraflow", "cond_seq_linear.weight"),
    ("cascade", "clf.1.weight"),
    ("pixart", "t_block.1.weight"),
    ("wan", "blocks.0.cross_attn.k.bias"),
)
_IP_ADAPTER = re.compile(r"ip_adapter\.\d+\.|ip_adapter_modules\.")
_CONTROL_NET_MARKS = (
    "lora_controlnet",
    "input_hint_block.0.weight",
    "controlnet_cond_embedding.conv_in.weight",
    "controlnet_down_blocks.0.weight",
    "controlnet_blocks.0.weight",
    "zero_convs.0.0.weight",
    "adapter.body.0.in_conv.weight",
    "body.0.block1.weight",
)
_UPSCALER_MARKS = ("conv_first.weight", "model.0.weight", "body.0.weight", "shallow_feature_extraction.weight")
_UPSCALER_PREFIXES = ("", "params_ema.", "params.", "module.")
_EMBEDDING_NAMES = {"clip_l", "clip_g", "t5", "t5xxl", "emb_params", "string_to_param.*", "string_to_param"}
# The last part of a tensor's name -> the form of its module; one tensor a module, so that modules are counted.
_FORMS_BY_LAST_PART = {
    "hada_w1_a": "loha",
    "lokr_w1": "lokr",
    "lokr_w1_a": "lokr",
    "oft_blocks": "oft",
    "oft_diag": "oft",
    "on_input": "ia3",
    "ia3_l": "ia3",
    "diff": "full",
    "w_norm": "norm",
}
# The same for names that end in `.weight`, by the part before it.
_FORMS_BEFORE_WEIGHT = {"lora_down": "lora", "lora_A": "lora", "oft_R": "oft", "a1": "glora"}
_OLD_LORA_LAYERS = ("lora", "lora_linear_layer")
_DORA = re.compile(r"\.dora_scale$|\.lora_magnitude_vector(?:\.|$)")
_LORA_CROSS_ATTENTION = re.compile(r"attn2[._]to_[kv]\.(?:lora_(?:down|A)(?:\.[\w-]+)?|lora\.down)\.weight$")
_LORA_FAMILIES = (
    ("flux", re.compile(r"(?:double|single)_blocks[._]\d|single_transformer_blocks[._]\d")),
    ("sd3", re.compile(r"joint_blocks[._]\d")),
    ("qwen-image", re.compile(r"transformer_blocks[._]\d+[._]attn[._]add_q_proj.*|txt_mlp")),
    ("wan", re.compile(r"blocks[._]\d+[._](?:self|cross)_attn[._]")),
    ("lumina2", re.compile(r"layers[._]\d+[._]attention[._]")),
)
_UNET_MODULE = re.compile(r"(?:down|up|input|output)_blocks[._]\d|(?:mid|middle)_block[._]\d?")
_TRANSFORMER_MODULE = re.compile(r"(?:^|[._])(?:transformer_blocks|blocks|layers)[._]\d+[._]")
_TEXT_MODULE = re.compile(r"lora_te|text_encoder|text_model|clip_[lg]")
# SDXL's UNet has no attention in its outermost blocks.
_SD1_OR_2 = re.compile(
    r"down_blocks[._]0[._]attentions|up_blocks[._]3[._]attentions|input_blocks[._][12][._]1[._]|output_blocks[._](?:9|1[01])[._]1[._]"
)
_SDXL_LORA = re.compile(
    r"lora_te2_|text_encoder_2\.|down_blocks[._]2[._]attentions[._]\d[._]transformer_blocks[._][1-9]"
)
_BITSANDBYTES_MARK = ".quant_state.bitsandbytes__"
_PACKED_LABELS = {
    "absmax": "bitsandbytes",
    "SCB": "bitsandbytes",
    "weight_scale_2": "nvfp4",
    "qweight": "SVDQuant or AWQ",
    "wscales": "SVDQuant or AWQ",
}
_PRECISIONS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}  # fmt: skip
_STATED_FAMILIES = (
    ("sdxl-refiner", re.compile(r"xl-v1-refiner")),
    ("sdxl", re.compile(r"^sdxl|stable-diffusion-xl")),
    ("sd1", re.compile(r"^sd_v1|stable-diffusion-v1|^sd1")),
    ("sd2", re.compile(r"^sd_v2|stable-diffusion-v2")),
    ("sd3", re.compile(r"^sd3|stable-diffusion-3|stable-diffusion-v3")),
    ("flux", re.compile(r"^flux")),
)


def describe_tensors(header: SafetensorsHeader) -> ModelDescription:
    """The description of a .safetensors file."""
    names = header.tensors.keys()
    found = (
        _ip_adapter(header)
        or _control_net(header)
        or _lora(header)
        or _embedding(header)
        or _diffusion_model(header)
        or _other(header)
    )
    return replace(
        found,
        family=found.family or _stated_family(header.metadata),
        precision=_precision(header),
        prediction=_prediction(header),
        quantization=_quantization(header),
        zero_terminal_snr="ztsnr" in names or header.metadata.get("ss_zero_terminal_snr") == "True",
        tensors=len(names),
        title=clip_text(header.metadata.get("modelspec.title") or header.metadata.get("ss_output_name") or ""),
    )


def _ip_adapter(header: SafetensorsHeader) -> ModelDescription | None:
    name = next((name for name in header.tensors if _IP_ADAPTER.match(name)), None)
    if name is None:
        return None
    keys = (header.shape(name) for name in header.tensors if name.endswith("to_k_ip.weight"))
    return _described("ip_adapter", _family_of_width(next(keys, ())))


def _control_net(header: SafetensorsHeader) -> ModelDescription | None:
    for prefix in ("", "control_model.", "adapter."):
        if any(prefix + mark in header.tensors for mark in _CONTROL_NET_MARKS):
            break
    else:
        return None
    is_transformer = prefix + "controlnet_blocks.0.weight" in header.tensors
    family = "transformer" if is_transformer else _unet_family(header, prefix)
    types = header.shape(prefix + "task_embedding") or header.shape("task_embedding")
    return replace(_described("controlnet", family), control_types=types[0] if types else 0)


def _lora(header: SafetensorsHeader) -> ModelDescription | None:
    forms: Counter[str] = Counter()
    ranks: Counter[int] = Counter()
    widths: Counter[int] = Counter()
    for name, tensor in header.tensors.items():
        form = _lora_form(name)
        if form is None:
            continue
        forms[form] += 1
        if (form == "lora" or name.endswith("_a")) and len(tensor.shape) >= 2:
            ranks[tensor.shape[0] if form == "lora" else tensor.shape[1]] += 1
        if _LORA_CROSS_ATTENTION.search(name) and len(tensor.shape) == 2:
            widths[tensor.shape[1]] += 1
    if not forms:
        return None
    if any(_DORA.search(name) for name in header.tensors):
        forms["dora"] += 1
    components = tuple(part for part, pattern in _LORA_COMPONENTS if any(map(pattern.search, header.tensors)))
    rank = ranks.most_common(1)[0][0] if ranks else 0
    lora = LoraDescription(tuple(sorted(forms)), components, rank, sum(forms.values()) - (forms["dora"] > 0))
    return replace(_described("lora", _lora_family(list(header.tensors), widths)), lora=lora)


def _lora_form(name: str) -> str | None:
    """The form of the module whose first tensor this is; peft puts the name of an adapter before `.weight`."""
    *_, third, second, last = ("", "", *name.rsplit(".", 3))
    if last != "weight":
        return _FORMS_BY_LAST_PART.get(last)
    if second == "down":
        return "lora" if third in _OLD_LORA_LAYERS or third.endswith("_lora") else None
    return _FORMS_BEFORE_WEIGHT.get(second) or _FORMS_BEFORE_WEIGHT.get(third)


_LORA_COMPONENTS = (
    ("unet", _UNET_MODULE),
    ("text_encoder", re.compile(r"lora_te1?_|text_encoder\.|clip_l")),
    ("text_encoder_2", re.compile(r"lora_te2_|text_encoder_2\.|clip_g")),
    ("embedding", re.compile(r"^bundle_emb\.")),
)


def _lora_family(names: list[str], widths: Mapping[int, int]) -> str:
    is_unet = any(map(_UNET_MODULE.search, names))
    if not is_unet:
        for family, pattern in _LORA_FAMILIES:
            if any(map(pattern.search, names)):
                return family
        if any(map(_TRANSFORMER_MODULE.search, (name for name in names if not _TEXT_MODULE.search(name)))):
            return "transformer"
    known = {FAMILY_OF_TEXT_WIDTH[width] for width in widths if width in FAMILY_OF_TEXT_WIDTH}
    if len(known) == 1:
        return known.pop()
    if any(map(_SD1_OR_2.search, names)):
        return "sd1"
    return "sdxl" if any(map(_SDXL_LORA.search, names)) else ""


def _embedding(header: SafetensorsHeader) -> ModelDescription | None:
    names = set(header.tensors)
    vectors = [tensor for tensor in header.tensors.values() if len(tensor.shape) in (1, 2)]
    if not names or len(vectors) != len(names) or not (names & _EMBEDDING_NAMES or len(names) == 1):
        return None
    first = vectors[0].shape
    count = first[0] if len(first) == 2 else 1
    if {"clip_l", "clip_g"} <= names:
        family = "sd3" if names & {"t5", "t5xxl"} else "sdxl"
    elif names & {"t5", "t5xxl"}:
        family = "flux"
    else:
        family = {768: "sd1", 1024: "sd2"}.get(first[-1], "")
        if not names & _EMBEDDING_NAMES and (not family or count > 512):
            return None
    return replace(_described("embedding", family), vectors=count)


def _diffusion_model(header: SafetensorsHeader) -> ModelDescription | None:
    for prefix in _UNET_PREFIXES:
        first = header.shape(prefix + "input_blocks.0.0.weight") or header.shape(prefix + "conv_in.weight")
        has_middle = any(
            prefix + name in header.tensors
            for name in (
                "middle_block.0.in_layers.0.weight",
                "mid_block.resnets.0.time_emb_proj.weight",
                "out.2.weight",
            )
        )
        mark = next((family for family, name in _TRANSFORMER_MARKS if prefix + name in header.tensors), None)
        if (len(first) == 4 and has_middle) or mark is not None:
            break
    else:
        return None
    text_family = _family_of_text_encoders(header.tensors)
    family = mark or text_family or _unet_family(header, prefix)
    if not family and prefix + "label_emb.0.0.weight" in header.tensors:
        family = "sdxl"
    has_text = bool(text_family) or any(
        name.startswith(("text_encoders.", "cond_stage_model.")) for name in header.tensors
    )
    described = _described("checkpoint" if has_text else "diffusion_model", family)
    has_vae = any(name.startswith(("first_stage_model.", "vae.")) for name in header.tensors)
    return replace(described, channels=first[1] if len(first) == 4 else None, has_vae=has_vae)


def _family_of_text_encoders(names: Iterable[str]) -> str:
    joined = set()
    for name in names:
        if name.startswith("conditioner.embedders.1."):
            return "sdxl"
        if name.startswith("conditioner.embedders.0.model."):
            joined.add("sdxl-refiner")
        elif name.startswith("cond_stage_model.transformer."):
            joined.add("sd1")
        elif name.startswith("cond_stage_model.model."):
            joined.add("sd2")
    return joined.pop() if len(joined) == 1 else ""


def _unet_family(header: SafetensorsHeader, prefix: str) -> str:
    shapes = (header.shape(prefix + name) for name in _CROSS_ATTENTIONS)
    return next((family for shape in shapes if (family := _family_of_width(shape))), "")


def _family_of_width(shape: tuple[int, ...]) -> str:
    return FAMILY_OF_TEXT_WIDTH.get(shape[-1], "") if shape else ""


def _other(header: SafetensorsHeader) -> ModelDescription:
    """A VAE, an upscaler or an encoder on its own."""
    for prefix in ("", "first_stage_model.", "vae."):
        shape = header.shape(prefix + "decoder.conv_in.weight")
        if len(shape) >= 4:
            return replace(_described("vae", ""), channels=shape[1], has_vae=True)
    for prefix in _UPSCALER_PREFIXES:
        if any(len(header.shape(prefix + mark)) == 4 for mark in _UPSCALER_MARKS):
            return _described("upscaler", "")
    if any(name.startswith(("vision_model.", "visual.", "image_encoder.")) for name in header.tensors):
        return _described("image_encoder", "")
    if any(".self_attn.q_proj.weight" in name or ".SelfAttention.q.weight" in name for name in header.tensors):
        return _described("text_encoder", "")
    return _described("unknown", "")


def _described(kind: ModelKind, family: str) -> ModelDescription:
    return ModelDescription("safetensors", kind, family)


def _stated_family(metadata: Mapping[str, str]) -> str:
    """What the trainer wrote, for files whose tensors leave it open."""
    stated = (metadata.get("ss_base_model_version") or metadata.get("modelspec.architecture") or "").casefold()[:100]
    return next((family for family, pattern in _STATED_FAMILIES if pattern.search(stated)), "")


def _precision(header: SafetensorsHeader) -> str:
    sizes: Counter[str] = Counter()
    for tensor in header.tensors.values():
        sizes[tensor.dtype if isinstance(tensor.dtype, str) else ""] += tensor.byte_count
    if not sizes:
        return ""
    largest = sizes.most_common(1)[0][0]
    return _PRECISIONS.get(largest, clip_text(largest).lower()[:20])


def _quantization(header: SafetensorsHeader) -> str:
    """A packed form of the weights; "" for plain ones and for fp8 with scales, which are multiplied out."""
    for name in header.tensors:
        label = "bitsandbytes" if _BITSANDBYTES_MARK in name else _PACKED_LABELS.get(name.rpartition(".")[2])
        if label is not None:
            return label
        if name.endswith((".weight_scale", ".scale_weight")):
            weight = header.tensors.get(name.removesuffix(".scale_weight").removesuffix(".weight_scale") + ".weight")
            if weight is not None and weight.dtype in ("I8", "U8", "F4"):
                return "int8" if weight.dtype == "I8" else "4 bits"
    return ""


def _prediction(header: SafetensorsHeader) -> str:
    names = header.tensors.keys()
    if "edm_vpred.sigma_max" in names or {"edm_mean", "edm_std"} <= names:
        return "edm"
    if "v_pred" in names:
        return "v"
    stated = header.metadata.get("modelspec.prediction_type") or header.metadata.get("modelspec.predict_key") or ""
    return {"v": "v", "epsilon": "epsilon"}.get(stated, "")
