"""From a sampler's model input back to the checkpoint, and the LoRAs on the way."""

from __future__ import annotations

import re

from indexd.images.facts import LoraUse
from indexd.images.metadata import values
from indexd.images.metadata.graph.nodes import Graph, Link, Node
from indexd.images.metadata.graph.settings import plain

_FILE_NAMES = (
    "ckpt_name",
    "base_ckpt_name",
    "unet_name",
    "checkpoint",
    "checkpoint_name",
    "model_name",
    "model_path",
    "gguf_name",
)
_MODEL_LINKS = ("model", "model1", "base_model", "unet", "model_a", "model_opt", "MODEL")
_PIPE_LINKS = ("pipe", "basic_pipe", "detailer_pipe", "base_ctx", "context", "guider", "sdxl_tuple")
_LORA_NAME = re.compile(r"lora_name(?:_?(\d+))?|lora_(\d+)(?:_name)?|lora(\d*)")
_WEIGHTS = (
    "strength_model",
    "model_str",
    "model_weight",
    "lora_wt",
    "lora_weight",
    "strength",
    "weight",
    "lora_model_strength",
)
_TEXT_WEIGHTS = ("strength_clip", "clip_str", "clip_weight", "strengthTwo", "lora_clip_strength")
_WALK_MAX = 400


def model_chain(graph: Graph, sampler: Node) -> tuple[str | None, tuple[LoraUse, ...]]:
    """The checkpoint that a sampler uses and the LoRAs laid over it, nearest to the sampler first."""
    uses: dict[str, LoraUse] = {}
    name: str | None = None
    seen = {sampler.id}
    queue = _next_links(graph, sampler)
    while queue and len(seen) < _WALK_MAX:
        link = queue.pop(0)
        if link.source in seen:
            continue
        seen.add(link.source)
        node = graph.nodes[link.source]
        for use in loras_on(graph, node):
            uses.setdefault(use.name, use)
        stack = graph.link(node, "lora_stack")
        if stack is not None:
            for member in (graph.nodes[stack.source], *graph.upstream([stack.source])):
                for use in loras_on(graph, member):
                    uses.setdefault(use.name, use)
        name = name or _file_name(graph, node)
        if name is not None:
            break
        queue = [*_next_links(graph, node), *queue]
    return name, tuple(uses.values())


def loras_on(graph: Graph, node: Node) -> list[LoraUse]:
    """The LoRAs that one node applies: a loader, a stack with numbered names, or rgthree's and LoRA Manager's lists."""
    found = []
    for key, value in node.inputs.items():
        if isinstance(value, dict):
            found += _listed(key, value)
        elif _LORA_NAME.fullmatch(key):
            found += _named(graph, node, key)
    return found


def _next_links(graph: Graph, node: Node) -> list[Link]:
    links = [link for name in (*_MODEL_LINKS, *_PIPE_LINKS) if (link := graph.link(node, name)) is not None]
    return links or [link for _, link in graph.links(node)]


def _file_name(graph: Graph, node: Node) -> str | None:
    if node.has("upscale", "clipvision", "ipadapter", "controlnet"):
        return None
    for key in _FILE_NAMES:
        value = plain(graph, node, key)
        if isinstance(value, str) and (name := values.model_name(value)) is not None:
            return name
    if node.has("modelloader") and isinstance(stated := node.inputs.get("model"), str):
        return values.model_name(stated)
    return None


def _named(graph: Graph, node: Node, key: str) -> list[LoraUse]:
    name = values.model_name(plain(graph, node, key))
    match = _LORA_NAME.fullmatch(key)
    number = "".join(part or "" for part in match.groups()) if match else ""
    if name is None or str(node.inputs.get(f"switch_{number}", "On")).lower() in ("off", "false"):
        return []
    return [LoraUse(name, _weight(graph, node, _WEIGHTS, number), _weight(graph, node, _TEXT_WEIGHTS, number))]


def _weight(graph: Graph, node: Node, names: tuple[str, ...], number: str) -> float | None:
    for name in names:
        for key in (f"{name}_{number}", f"{name}{number}") if number else (name,):
            if (found := values.number(plain(graph, node, key))) is not None:
                return found
    return None


def _listed(key: str, value: dict[str, object]) -> list[LoraUse]:
    """rgthree: `lora_1: {on, lora, strength, strengthTwo}`; LoRA Manager: `loras: {__value__: [{name, strength, active}]}`."""
    rows = values.records(value.get("__value__")) if key == "loras" else [value]
    found = []
    for row in rows:
        name = values.model_name(row.get("lora") or row.get("name"))
        if name is not None and row.get("on", row.get("active", True)) is not False:
            text_weight = values.number(row.get("strengthTwo", row.get("clipStrength")))
            found.append(LoraUse(name, values.number(row.get("strength")), text_weight))
    return found
