"""From a sampler's model input back to the checkpoint, and the LoRAs on the way."""

from __future__ import annotations

import re

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.input_values import resolve_input
from indexd.image_metadata.comfyui_graph.node_graph import GraphNode, NodeGraph, NodeLink
from indexd.image_metadata.model import MetadataLora

_CHECKPOINT_INPUTS = (
    "ckpt_name",
    "base_ckpt_name",
    "base_checkpoint",
    "unet_name",
    "checkpoint",
    "checkpoint_name",
    "model_name",
    "model_path",
    "gguf_name",
)
_MODEL_INPUTS = ("model", "model1", "base_model", "unet", "model_a", "model_opt", "MODEL")
_OTHER_INPUTS = frozenset(
    [
        "clip",
        "vae",
        "positive",
        "negative",
        "conditioning",
        "control_net",
        "image",
        "images",
        "pixels",
        "latent",
        "latent_image",
        "samples",
        "mask",
    ]
)
_LORA_NAME = re.compile(r"lora_name(?:_?(\d+))?|lora_(\d+)(?:_name)?|lora(\d*)")
_WEIGHT_INPUTS = (
    "strength_model",
    "model_str",
    "model_weight",
    "lora_wt",
    "lora_weight",
    "strength",
    "weight",
    "lora_model_strength",
)
_TEXT_WEIGHT_INPUTS = ("strength_clip", "clip_str", "clip_weight", "strengthTwo", "lora_clip_strength")
_WALK_MAX = 400


def find_checkpoint_and_loras(graph: NodeGraph, sampler: GraphNode) -> tuple[str | None, tuple[MetadataLora, ...]]:
    """The checkpoint that a sampler uses and the LoRAs laid over it, nearest to the sampler first."""
    uses: dict[str, MetadataLora] = {}
    name: str | None = None
    seen = {sampler.id}
    queue = _next_links(graph, sampler)
    while queue and len(seen) < _WALK_MAX:
        link = queue.pop(0)
        if link.source in seen:
            continue
        seen.add(link.source)
        node = graph.nodes[link.source]
        for use in loras_on_node(graph, node):
            uses.setdefault(use.name, use)
        stack = graph.link_at(node, "lora_stack")
        if stack is not None:
            for member in (graph.nodes[stack.source], *graph.iter_upstream([stack.source])):
                for use in loras_on_node(graph, member):
                    uses.setdefault(use.name, use)
        name = name or checkpoint_name(graph, node)
        if name is not None:
            break
        queue = [*_next_links(graph, node), *queue]
    return name, tuple(uses.values())


def loras_on_node(graph: NodeGraph, node: GraphNode) -> list[MetadataLora]:
    """The LoRAs that one node applies: a loader, a stack with numbered names, or rgthree's and LoRA Manager's lists."""
    found = []
    for key, value in node.inputs.items():
        if isinstance(value, dict):
            found += _loras_in_list(key, value)
        elif _LORA_NAME.fullmatch(key):
            found += _loras_by_input_name(graph, node, key)
    return found


def _next_links(graph: NodeGraph, node: GraphNode) -> list[NodeLink]:
    named = [link for name in (*_MODEL_INPUTS, "guider") if (link := graph.link_at(node, name)) is not None]
    links = [*named, *graph.iter_pipe_links(node)]
    # An unknown node may name its model input in its own way; conditionings and images lead to other models.
    return links or [link for name, link in graph.iter_links(node) if name.lower() not in _OTHER_INPUTS]


def checkpoint_name(graph: NodeGraph, node: GraphNode) -> str | None:
    if node.kind_contains("upscale", "clipvision", "ipadapter", "controlnet"):
        return None
    for key in _CHECKPOINT_INPUTS:
        value = resolve_input(graph, node, key)
        if isinstance(value, str) and (name := coerce.parse_model_name(value)) is not None:
            return name
    if node.kind_contains("modelloader") and isinstance(stated := node.inputs.get("model"), str):
        return coerce.parse_model_name(stated)
    return None


def _loras_by_input_name(graph: NodeGraph, node: GraphNode, key: str) -> list[MetadataLora]:
    name = coerce.parse_model_name(resolve_input(graph, node, key))
    match = _LORA_NAME.fullmatch(key)
    number = "".join(part or "" for part in match.groups()) if match else ""
    if name is None or str(node.inputs.get(f"switch_{number}", "On")).lower() in ("off", "false"):
        return []
    return [
        MetadataLora(
            name, _weight(graph, node, _WEIGHT_INPUTS, number), _weight(graph, node, _TEXT_WEIGHT_INPUTS, number)
        )
    ]


def _weight(graph: NodeGraph, node: GraphNode, names: tuple[str, ...], number: str) -> float | None:
    for name in names:
        for key in (f"{name}_{number}", f"{name}{number}", f"lora_{number}_{name}") if number else (name,):
            if (found := coerce.parse_float(resolve_input(graph, node, key))) is not None:
                return found
    return None


def _loras_in_list(key: str, value: dict[str, object]) -> list[MetadataLora]:
    """rgthree: `lora_1: {on, lora, strength, strengthTwo}`; LoRA Manager: `loras: {__value__: [{name, strength, active}]}`."""
    rows = coerce.as_objects(value.get("__value__")) if key == "loras" else [value]
    found = []
    for row in rows:
        name = coerce.parse_model_name(row.get("lora") or row.get("name"))
        if name is not None and row.get("on", row.get("active", True)) is not False:
            text_weight = coerce.parse_float(row.get("strengthTwo", row.get("clipStrength")))
            found.append(MetadataLora(name, coerce.parse_float(row.get("strength")), text_weight))
    return found
