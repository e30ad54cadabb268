"""Numbers and words of a node: stated on it, or on a node that its input is linked to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from indexd.image_metadata import coerce, infotext
from indexd.image_metadata.comfyui_graph.node_graph import GraphNode, NodeGraph, NodeLink

SETTINGS_INPUTS = ("noise", "guider", "sampler", "sigmas")
SETTINGS_NODES_MAX = 40
HOPS_MAX = 60

SEED_INPUTS = ("seed", "noise_seed", "seed_value", "seed_num")
_SYNONYMS = (
    SEED_INPUTS,
    ("steps", "base_steps"),
    ("cfg", "cfg_scale", "cfg_conds", "base_cfg"),
    ("sampler_name", "sampler"),
    ("scheduler", "scheduler_name"),
    ("width", "empty_latent_width", "image_width"),
    ("height", "empty_latent_height", "image_height"),
    ("ckpt_name", "model_name"),
)
_SYNONYMS_OF = {name: names for names in _SYNONYMS for name in names}
_CONSTANT_INPUTS = ("value", "Value", "int", "Int", "float", "Float", "number", "Number", "string", "String")
_SIDES = {"width": 0, "height": 1}
_INFOTEXT_KEYS = {
    "seed": "Seed",
    "steps": "Steps",
    "cfg": "CFG scale",
    "sampler_name": "Sampler",
    "model_name": "Model",
    "width": "Size",
    "height": "Size",
}
SIDE_MIN_PX = 64
"""Smaller numbers are no sides of an image: they are shares, ratios or counts."""


def find_setting(graph: NodeGraph, node: GraphNode, *names: str) -> Any:
    """The first of these inputs that the node states, else the one on the nearest node that its settings come from.

    SamplerCustomAdvanced has its seed on a noise node, cfg on a guider, steps on a scheduler; pipes carry all of them.
    Returns None where no node states it.
    """
    for current in (node, *settings_nodes(graph, node)):
        for name in names:
            if (found := resolve_input(graph, current, name)) is not None:
                return found
    return None


def settings_nodes(graph: NodeGraph, node: GraphNode) -> list[GraphNode]:
    """The nodes that give a sampler its settings (noise, guider, sigmas, pipes), nearest first."""
    seen, queue = {node.id}, [node]
    for current in queue:
        links = [link for name in SETTINGS_INPUTS if (link := graph.link_at(current, name)) is not None]
        for link in (*links, *graph.iter_pipe_links(current)):
            if link.source not in seen and len(seen) <= SETTINGS_NODES_MAX:
                seen.add(link.source)
                queue.append(graph.nodes[link.source])
    return queue[1:]


def resolve_input(graph: NodeGraph, node: GraphNode, name: str) -> Any:
    """The plain value of one input, followed through links; None where it is missing or cannot be told."""
    return _resolve(graph, node.inputs.get(name), _synonyms(name), 0)


def find_size_text(values: Iterable[object]) -> tuple[int, int] | None:
    """Width and height in pixels from the last text of the form "832 x 1216"; None where there is none."""
    found = None
    for value in values:
        size = coerce.parse_size(value) if isinstance(value, str) and len(value) < 200 else None
        if size is not None and min(size) >= SIDE_MIN_PX:
            found = size
    return found


def preset_size(node: GraphNode) -> tuple[int, int] | None:
    """Width and height in pixels of the preset that a node for sizes has chosen, "3:4 portrait 896x1152".

    Its own numbers are then those of another choice ("custom"). None where it has no preset.
    """
    if not node.kind_contains("latent", "resolution", "size", "aspect"):
        return None
    size = find_size_text(node.inputs.values())
    is_swapped = str(node.inputs.get("swap_dimensions", "")).lower() in ("on", "true")
    return size[::-1] if size and is_swapped else size


def _synonyms(name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((name, *_SYNONYMS_OF.get(name, ()))))


def _resolve(graph: NodeGraph, value: Any, names: tuple[str, ...], depth: int) -> Any:
    link = graph.as_link(value)
    if link is None:
        return None if isinstance(value, list | dict) else value
    if depth > HOPS_MAX or not graph.take_step():
        return None
    source = graph.nodes[link.source]
    # Asking for the name of a slot may read a whole workflow: only where the inputs do not have the wanted name.
    is_plain = any(name in source.inputs for name in names) and len(source.inputs) < 3
    slot_name = None if is_plain else graph.output_name(source, link.slot)
    wanted = tuple(dict.fromkeys((*(_synonyms(slot_name) if slot_name else ()), *names)))
    side = next((name for name in wanted if name in _SIDES and name in source.inputs), None)
    if side is not None and (preset := preset_size(source)) is not None:
        return preset[_SIDES[side]]
    for name in wanted:
        if name in source.inputs and (found := _resolve(graph, source.inputs[name], wanted, depth + 1)) is not None:
            return found
    for pipe in graph.iter_pipe_links(source):
        if (found := _resolve(graph, [pipe.source, -1], wanted, depth + 1)) is not None:
            return found
    if (found := _value_in_texts(source, link, wanted)) is not None:
        return found
    if "value" not in source.inputs and source.kind_contains("reroute", "switch", "select"):
        chosen = graph.selected_input(source)
        return None if chosen is None else _resolve(graph, source.inputs[chosen], wanted, depth + 1)
    return _constant(graph, source, wanted, depth)


def _constant(graph: NodeGraph, node: GraphNode, wanted: tuple[str, ...], depth: int) -> Any:
    """The value of a node that holds one: an input that is called a value, or its only number."""
    linked = [name for name, _ in graph.iter_links(node)]
    for name in _CONSTANT_INPUTS:
        if name in node.inputs and (name not in linked or len(linked) == 1):
            return _resolve(graph, node.inputs[name], wanted, depth + 1)
    numbers = [
        (name, value)
        for name, value in node.inputs.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    # A number beside a link is an operand, not the result; a seed is no number of steps.
    if len(numbers) != 1 or linked or (numbers[0][0] in _SYNONYMS_OF and numbers[0][0] not in wanted):
        return None
    return numbers[0][1]


def _value_in_texts(node: GraphNode, link: NodeLink, wanted: tuple[str, ...]) -> Any:
    """A side from a "W x H" text, or a setting from an infotext that the node keeps among its widgets."""
    name = next((name for name in wanted if name in _INFOTEXT_KEYS), None)
    if name is None:
        return None
    texts = [value for value in (*node.inputs.values(), *node.widgets) if isinstance(value, str)]
    for text in texts if node.widgets else ():
        if (parts := infotext.split_infotext(text)) is not None and _INFOTEXT_KEYS[name] in parts.settings:
            stated = parts.settings[_INFOTEXT_KEYS[name]]
            size = coerce.parse_size(stated) if name in _SIDES else None
            return size[_SIDES[name]] if size else stated
    if name not in _SIDES or (size := find_size_text(texts)) is None:
        return None
    direction = str(node.inputs.get("direction", node.inputs.get("orientation", ""))).lower()
    if direction in ("portrait", "landscape"):
        size = (min(size), max(size)) if direction == "portrait" else (max(size), min(size))
    return size[link.slot] if link.slot in (0, 1) and not node.widgets else size[_SIDES[name]]
